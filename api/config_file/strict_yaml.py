"""YAML without its surprises: a key twice, numbers that are read as others, words that are read as true or false."""

import re
from typing import Any

import yaml
from yaml.constructor import ConstructorError

# YAML 1.1 reads 010 as 8, 90:10 as 5410 and 1:30.5 as 90.5.
_SURPRISING = re.compile(r"[-+]?(0[0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")


class StrictLoader(yaml.SafeLoader):
    """Refuses, with line and column, what would not be read as it is written."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            # YAML forbids a key twice in a mapping; PyYAML silently keeps the last.
            if key.tag != "tag:yaml.org,2002:merge" and isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _refused(f"key {key.value!r} twice", key)
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        is_int = node.tag.endswith(":int")
        number: int | float = self.construct_yaml_int(node) if is_int else self.construct_yaml_float(node)
        if _SURPRISING.fullmatch(node.value):
            hint = "numbers have no leading zero and no colon, and text needs quotes"
            raise _refused(f"{node.value} would be read as {number}; {hint}", node)
        return number

    def construct_bool(self, node: yaml.ScalarNode) -> bool:
        truth = bool(self.construct_yaml_bool(node))
        if node.value.lower() not in ("true", "false"):
            raise _refused(f"{node.value} would be read as {str(truth).lower()}; as a name it needs quotes", node)
        return truth


StrictLoader.add_constructor("tag:yaml.org,2002:int", StrictLoader.construct_number)
StrictLoader.add_constructor("tag:yaml.org,2002:float", StrictLoader.construct_number)
StrictLoader.add_constructor("tag:yaml.org,2002:bool", StrictLoader.construct_bool)


def _refused(problem: str, node: yaml.Node) -> ConstructorError:
    return ConstructorError(None, None, problem, node.start_mark)
