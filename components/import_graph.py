"""The project's import graph, read from its sources.

What a result depends on (`source_fingerprint`) and the tests of the layout look at it. Sources are parsed and not
imported, so that an import inside a function counts too and nothing heavy is loaded.
"""

from __future__ import annotations

import ast
import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Mapping


def package_dir(project_dir: pathlib.Path, package: str) -> pathlib.Path:
    """Returns the folder of a package; in a wheel, `maskformer_model` lies beside the folder that holds the others."""
    inside = project_dir / package
    return inside if inside.is_dir() else project_dir.parent / package


@dataclasses.dataclass(frozen=True)
class ImportGraph:
    """Modules of the project and what each of them imports.

    Attributes:
        paths: The file of each module, by its dotted name; a package stands for its `__init__.py`.
        imports: For each module the modules of the project that it imports, anywhere in the file.
    """

    paths: dict[str, pathlib.Path]
    imports: dict[str, set[str]]

    @classmethod
    def read(cls, project_dir: pathlib.Path, packages: Iterable[str]) -> ImportGraph:
        """Reads the sources of the packages."""
        folders = [package_dir(project_dir, package) for package in packages]
        parents = {path: folder.parent for folder in folders for path in sorted(folder.rglob("*.py"))}
        paths = {dotted_name(parent, path): path for path, parent in parents.items()}
        imports = {}
        for name, path in paths.items():
            found = imported_names(path.read_text("utf-8"), package_of(parents[path], path))
            imports[name] = {module for module in (_module_of(imported, paths) for imported in found) if module} - {
                name
            }
        return cls(paths, imports)

    def with_module(self, name: str, path: pathlib.Path) -> ImportGraph:
        """Returns the graph with one module more, which lies elsewhere."""
        found = imported_names(path.read_text("utf-8"), name.rpartition(".")[0])
        imports = {module for imported in found if (module := _module_of(imported, self.paths))}
        return ImportGraph({**self.paths, name: path}, {**self.imports, name: imports})

    def behind(self, module: str) -> set[str]:
        """Returns the modules that a module reaches by imports, itself included.

        Raises:
            KeyError: if there is no such module.
        """
        reached, pending = set(), {module}
        while pending:
            name = pending.pop()
            reached.add(name)
            pending |= self.imports[name] - reached
        return reached

    def between_folders(self) -> dict[str, set[str]]:
        """Returns the graph with one node a folder; a module that lies beside folders is a node of its own."""
        with_folders = {name.rpartition(".")[0] for name, path in self.paths.items() if path.name == "__init__.py"}
        node = {name: self._node(name, with_folders) for name in self.paths}
        graph: dict[str, set[str]] = {}
        for name, imported in self.imports.items():
            graph.setdefault(node[name], set()).update(node[other] for other in imported if node[other] != node[name])
        return graph

    def _node(self, name: str, with_folders: set[str]) -> str:
        folder = name.rpartition(".")[0]
        return name if self.paths[name].name == "__init__.py" or folder in with_folders else folder


def dotted_name(project_dir: pathlib.Path, path: pathlib.Path) -> str:
    """Returns the name by which a file is imported."""
    parts = path.relative_to(project_dir).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(project_dir: pathlib.Path, path: pathlib.Path) -> str:
    """Returns the dotted name of the package that holds a file."""
    return ".".join(path.relative_to(project_dir).parent.parts)


def imported_names(source: str, package: str, *, only_at_import: bool = False) -> Iterator[str]:
    """Yields the dotted name of each module that `source` imports.

    Args:
        source: Python source.
        package: Dotted name of the package that holds the source, which relative imports start from.
        only_at_import: Leaves out what only a call of a function imports.
    """
    pending: list[ast.AST] = [ast.parse(source)]
    while pending:
        node = pending.pop()
        if only_at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        pending.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join(above + ([node.module] if node.module else []))
            # `from a import b` may import the module a.b.
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            yield from (str(argument.value) for argument in node.args[:1] if isinstance(argument, ast.Constant))


def _module_of(name: str, paths: Mapping[str, pathlib.Path]) -> str | None:
    """Returns the module of the project that an imported name is or lies in."""
    while name and name not in paths:
        name = name.rpartition(".")[0]
    return name or None
