"""From the bytes of a photo to what a network reads: one code for gateway and trainer.

errors    what can be wrong with a photo
contract  the network's input and classes: what training and serving must do alike
decode    bytes to an upright grey picture, with limits before memory is spent
detect    where the faces are: a file for each detector
geometry  boxes and squares
crop      squares to 48x48
align     how a head leans, and where its landmarks are
finder    the steps of one photo, and their times
"""
