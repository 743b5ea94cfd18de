"""Labelled faces.

dataset        all the data of one training
fer2013        Kaggle's CSV
ferplus        FER+'s votes beside it
folder         a folder of image files per class
photos         such a folder from somebody's own photos
csv_file       columns of a CSV, plain or packed
split          labelled faces in memory
duplicates     the same face twice
contact_sheet  faces to look at
"""
