"""What holds for the repository as a whole: notebooks, addresses, rooms, docstrings."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import lowest_versions
import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted((ROOT / "chapters").glob("*.md"))
ADDRESS = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]

TEXTS = {".ipynb", ".md", ".py", ".toml", ".yml"}

# Which rooms each room may enter. Data flows one way, so no room is entered by one it enters.
ROOMS = {
    "images": set(),
    "profile": set(),
    "array_cache": set(),
    "whole_files": set(),
    "nsoartc": {"images", "whole_files"},
    "data": {"array_cache", "images", "nsoartc"},
    "sampling": {"images"},
    "losses": set(),
    "augmentation": set(),
    "encoders": set(),
    "weights": {"whole_files"},
    "whitening": set(),
    "limits": set(),
    "costs": set(),
    "control_charts": set(),
    "deployment": {"images"},
    "training": {"encoders", "weights"},
    "embedding": {"images"},
    "inspection": {"images", "nsoartc", "encoders", "embedding", "limits", "weights", "plots"},
    "evaluation": {"images"},
    "results": {"profile"},
    "plots": set(),
    "keras_triplets": {"images"},
}
# Packages that must not be loaded where they are not needed.
STRANGERS = {
    "images": {"torch", "matplotlib", "datasets"},
    "array_cache": {"torch", "tensorflow", "matplotlib", "sklearn", "datasets"},
    "nsoartc": {"torch", "tensorflow", "matplotlib", "datasets"},
    "data": {"torch", "matplotlib"},
    "losses": {"matplotlib", "sklearn", "datasets"},
    "augmentation": {"matplotlib", "sklearn", "datasets"},
    "encoders": {"matplotlib", "sklearn", "datasets"},
    "training": {"matplotlib", "sklearn", "datasets"},
    "evaluation": {"torch", "matplotlib"},
    "plots": {"torch", "sklearn", "datasets"},
    "keras_triplets": {"torch", "datasets"},
    "sampling": {"tensorflow", "matplotlib"},
    "embedding": {"tensorflow", "matplotlib"},
    "weights": {"tensorflow", "matplotlib", "sklearn", "datasets"},
    "whitening": {"torch", "tensorflow", "matplotlib", "datasets"},
    "limits": {"torch", "tensorflow", "matplotlib", "sklearn", "datasets"},
    "costs": {"torch", "tensorflow", "matplotlib", "sklearn", "datasets"},
    "control_charts": {"torch", "tensorflow", "matplotlib", "sklearn", "datasets"},
    "deployment": {"tensorflow", "matplotlib", "datasets", "onnxruntime"},
    "inspection": {"tensorflow", "matplotlib", "datasets"},
}


def modules(room):
    folder = ROOT / "snnlib" / room
    return sorted(folder.glob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


def imported(file):
    """Names of all modules that a file imports anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def public():
    for room in ROOMS:
        for file in modules(room):
            parts = file.relative_to(ROOT).with_suffix("").parts
            module = importlib.import_module(".".join(parts))
            for name in getattr(module, "__all__", []):
                thing = getattr(module, name)
                if getattr(thing, "__module__", None) == module.__name__:
                    yield pytest.param(thing, id=f"{room}.{name}")


def test_every_room_is_known():
    folder = ROOT / "snnlib"
    names = {path.stem for path in folder.glob("*.py")} | {
        p.parent.name for p in folder.glob("*/*.py")
    }
    assert names - {"__init__"} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_one_way(room):
    entered = {
        name.split(".")[1]
        for file in modules(room)
        for name in imported(file)
        if name.startswith("snnlib.")
    }
    assert entered - {room} <= ROOMS[room]
    assert not any(room in ROOMS[other] for other in ROOMS[room])


@pytest.mark.parametrize("room", STRANGERS)
def test_rooms_stay_light(room):
    loaded = f"import sys, snnlib.{room}; print(*{{name.split('.')[0] for name in sys.modules}})"
    names = subprocess.check_output([sys.executable, "-c", loaded], text=True, cwd="/").split()
    assert not STRANGERS[room] & set(names)


def test_the_library_alone_loads_nothing_heavy():
    loaded = "import sys, snnlib; print(*{name.split('.')[0] for name in sys.modules})"
    names = subprocess.check_output([sys.executable, "-c", loaded], text=True, cwd="/").split()
    assert not {"torch", "tensorflow", "matplotlib", "numpy", "sklearn"} & set(names)


@pytest.mark.parametrize("thing", list(public()))
def test_public_names_are_documented(thing):
    text = inspect.getdoc(thing)
    assert text
    functions = [thing] if inspect.isfunction(thing) else []
    if inspect.isclass(thing):
        members = vars(thing).items()
        functions = [m for n, m in members if inspect.isfunction(m) and not n.startswith("_")]
    for function in functions:
        sections = inspect.getdoc(function)
        names = [name for name in inspect.signature(function).parameters if name != "self"]
        assert not names or "Parameters\n---" in sections, f"{function.__qualname__}: no Parameters"
        for name in names:
            assert name in sections, f"{function.__qualname__} does not document {name}"


def own_functions(thing):
    """A function, or the public ones that a class defines, and how it is made."""
    members = {"": thing}
    if inspect.isclass(thing):
        members = {n: m for n, m in vars(thing).items() if n == "__init__" or n[0] != "_"}
    for member in members.values():
        # What is cached wraps a function; a property or a class method holds one.
        function = inspect.unwrap(getattr(member, "fget", getattr(member, "__func__", member)))
        if inspect.isfunction(function) and function.__module__ == thing.__module__:
            yield function


@pytest.mark.parametrize("thing", list(public()))
def test_public_names_have_types(thing):
    for function in own_functions(thing):
        signature = inspect.signature(function)
        lacking = [
            name
            for name, parameter in signature.parameters.items()
            if parameter.annotation is inspect.Parameter.empty and name not in ("self", "cls")
        ]
        lacking += ["return"] if signature.return_annotation is inspect.Signature.empty else []
        assert not lacking, f"{function.__qualname__} has no type for {', '.join(lacking)}"


@pytest.mark.parametrize("thing", list(public()))
def test_public_names_are_tested(thing):
    tests = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").glob("test_*.py"))
    assert re.search(rf"\b{thing.__name__}\b", tests)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_notebook_is_in_step_with_its_markdown(chapter):
    source = jupytext.read(chapter)
    notebook = nbformat.read(chapter.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(notebook)

    def comparable(book):
        return [(cell.cell_type, cell.source, dict(cell.metadata)) for cell in book.cells]

    assert comparable(notebook) == comparable(source)
    assert notebook.metadata.kernelspec == source.metadata.kernelspec


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_notebook_stores_no_output(chapter):
    notebook = nbformat.read(chapter.with_suffix(".ipynb"), as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_every_notebook_has_a_source():
    assert [p.stem for p in sorted((ROOT / "chapters").glob("*.ipynb"))] == [
        p.stem for p in CHAPTERS
    ]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_the_first_cell_installs_the_library_from_the_address(chapter):
    first = next(cell for cell in jupytext.read(chapter).cells if cell.cell_type == "code")
    assert 'find_spec("snnlib") is None' in first.source
    assert f'"snnlib[chapters] @ git+{ADDRESS}"' in first.source


@pytest.mark.parametrize("file", ["pyproject.toml", "README.md", "intro.md", "_config.yml"])
def test_the_address_is_the_same_everywhere(file):
    owner, name = ADDRESS.split("/")[-2:]
    text = (ROOT / file).read_text(encoding="utf-8") if (ROOT / file).exists() else ""
    addresses = set(re.findall(r"https://github\.com/[\w.-]+/[\w.-]*\w", text))
    assert addresses <= {ADDRESS}
    assert file == "README.md" or addresses == {ADDRESS}
    assert re.fullmatch(r"[\w.-]+", owner)
    assert re.fullmatch(r"[\w.-]+", name)


def test_the_address_is_rewritten_everywhere(checkout):
    new = "https://github.com/somebody/a-fork"
    script = checkout / "scripts" / "set_repository.py"
    subprocess.run([sys.executable, script, new], check=True, capture_output=True)
    names = [path.relative_to(ROOT) for path in CHAPTERS]
    update = [sys.executable, "-m", "jupytext", "--quiet", "--update", "--to", "ipynb", *names]
    subprocess.run(update, check=True, cwd=checkout)
    texts = [p.read_text(encoding="utf-8") for p in checkout.rglob("*.*") if p.suffix in TEXTS]
    assert not any(ADDRESS in text for text in texts)
    assert sum(new in text for text in texts) >= 5
    refused = subprocess.run(
        [sys.executable, script, "github.com/somebody"], capture_output=True, text=True
    )
    assert refused.returncode != 0
    assert "expected URL=https://github.com/<owner>/<name>" in refused.stderr


def test_the_project_file_is_ascii():
    """Jupytext looks into it in whatever encoding a machine has."""
    assert (ROOT / "pyproject.toml").read_bytes().isascii()


def lacks_encoding(call):
    """Whether a call reads or writes text in whatever encoding a machine has."""
    function = ast.unparse(call.func)
    mode = ast.unparse(call.args[1]) if len(call.args) > 1 else ""
    whole_file = function.endswith((".read_text", ".write_text"))
    opened = function == "open" and "b" not in mode
    return (whole_file or opened) and "encoding" not in {word.arg for word in call.keywords}


FOLDERS = ["_extensions", "benchmarks", "scripts", "snnlib", "snnlib/*", "tests", "tests/book"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_text_has_an_encoding(folder):
    files = list(ROOT.glob(f"{folder}/*.py"))
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            lacking = isinstance(node, ast.Call) and lacks_encoding(node)
            assert not lacking, f"{file.relative_to(ROOT)}, line {node.lineno}"


def test_the_constraints_hold_every_dependency():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wanted = set(re.findall(r'^(?:    |keras = \[)"([a-z][\w-]*)>=', project, re.M))
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = re.findall(r"^([\w.-]+)==([\w.]+)$", pins, re.M)
    assert wanted <= {name for name, _ in pinned}


def test_the_lowest_versions_are_those_of_the_project():
    project = {
        "name": "snnlib",
        "dependencies": ["numpy>=2", "torch>=2.6"],
        "optional-dependencies": {
            "keras": ["tensorflow>=2.19"],
            "book": ["snnlib[keras]", "jupyter-book>=1.0.4,<2"],
        },
    }
    assert set(lowest_versions.lowest(project, ["book"])) == {
        "numpy==2",
        "torch==2.6",
        "tensorflow==2.19",
        "jupyter-book==1.0.4",
    }
    with pytest.raises(SystemExit, match="expected extras among keras, book; got cuda"):
        list(lowest_versions.lowest(project, ["cuda"]))
    with pytest.raises(SystemExit, match=r"expected 'name>=version' in pyproject\.toml, got"):
        list(lowest_versions.lowest(project | {"dependencies": ["numpy"]}, []))
    own = subprocess.check_output(
        [sys.executable, ROOT / "scripts/lowest_versions.py", "book", "test"]
    )
    assert len(own.decode().splitlines()) > 20


def shown_by_a_recipe(folder, variable, **given):
    """What a recipe of the Makefile finds in an environment variable."""
    (folder / "show.mk").write_text(f'show:\n\t@echo "$${variable}"\n', encoding="utf-8")
    # Tests run below a make of their own, which this one should not know of.
    outer = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    return subprocess.run(
        ["make", "--makefile", "Makefile", "--makefile", "show.mk", "show"],
        cwd=folder,
        env=environment | given,
        capture_output=True,
        text=True,
    )


def test_a_relative_mirror_becomes_absolute(checkout):
    (checkout.parent / "a mirror").mkdir()
    shown = shown_by_a_recipe(checkout, "SNNLIB_DATA", SNNLIB_DATA="../a mirror").stdout
    assert shown == f"{checkout.parent}/a mirror\n"
    assert shown_by_a_recipe(checkout, "SNNLIB_DATA", SNNLIB_DATA="").stdout == "\n"


def test_a_mirror_that_is_no_folder_stops_the_build(checkout):
    result = shown_by_a_recipe(checkout, "SNNLIB_DATA", SNNLIB_DATA="../nowhere")
    assert result.returncode != 0
    assert 'SNNLIB_DATA must name a folder, got "../nowhere"' in result.stderr


@pytest.mark.parametrize("home", ["/proc", "/nowhere"])
def test_a_home_that_cant_be_written_to_is_replaced(checkout, home):
    own = checkout / "_build" / "home"
    assert shown_by_a_recipe(checkout, "HOME", HOME=home).stdout == f"{own}\n"
    assert own.is_dir()


def test_a_home_that_can_be_written_to_is_kept_as_it_is(checkout, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    assert shown_by_a_recipe(checkout, "HOME", HOME=str(home)).stdout == f"{home}\n"
    assert list(home.iterdir()) == []
