"""The laws of the house, checked by reading the imports of every file (DESIGN.md, "Laws")."""

import ast
from pathlib import Path

import pytest

import multidiff
from multidiff import registry

ROOT = Path(multidiff.__file__).parent
MEDIA = tuple(registry.MODALITIES)

GROUND = {"errors", "files", "modality", "dataset", "text", "torchaudio_door", "frames"}
LAYERS = [
    {"core", "nn"},
    set(MEDIA),
    {"registry"},
    {"specs"},
    {"recipe"},
    {"settings", "classifier"},
    {"trained"},
    {"model", "weights", "output"},
    {"job", "measure", "train", "evaluate", "bench"},
    {"cli"},
]
"""From the floor up. A room may import rooms below it and the ground, and of its own layer what ALLOWED says."""
ALLOWED = {("weights", "model"), ("cli", "cli"), ("train", "train"), ("bench", "train")}


def imports(path: Path) -> set[str]:
    """Rooms of multidiff that a file imports, wherever in the file; importing a protocol for types counts too."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "multidiff":
            names = [f"multidiff.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("multidiff.")}
    return rooms


def room_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


FILES = [path for path in sorted(ROOT.rglob("*.py")) if path.parent != ROOT or not path.name.startswith("__")]


def layer(room: str) -> int:
    return next((number for number, rooms in enumerate(LAYERS) if room in rooms), -1)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    room = room_of(path)
    assert room in GROUND or layer(room) >= 0, f"{room} has no place in the layers of this test and of DESIGN.md"
    for other in imports(path) - {"__version__"}:
        if other == room or other in GROUND or (room, other) in ALLOWED:
            continue
        if room in GROUND:
            # The protocol is named for types by the registry; the ground itself stands on nothing.
            pytest.fail(f"{path}: the ground imports {other}")
        assert layer(other) < layer(room), f"{path}: {room} imports {other}, which does not lie below it"


def test_core_and_nn_do_not_know_each_other_nor_any_medium() -> None:
    for path in FILES:
        if room_of(path) in ("core", "nn"):
            assert imports(path) <= {room_of(path)}, path


def test_a_medium_never_imports_another() -> None:
    for path in FILES:
        if (room := room_of(path)) in MEDIA:
            assert not imports(path) & (set(MEDIA) - {room}), path


def test_only_the_registry_names_media() -> None:
    """recipe, model, weights, train, job and evaluate know a medium only through the protocol."""
    for path in FILES:
        if room_of(path) in ("recipe", "model", "weights", "train", "job", "evaluate"):
            assert not imports(path) & set(MEDIA), path
            strings = [n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)]
            assert not set(MEDIA) & {s for s in strings if isinstance(s, str)}, path


def test_core_imports_torch_and_the_standard_library_only() -> None:
    import sys

    for path in FILES:
        if room_of(path) != "core":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                name = node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name
                root = name.split(".")[0]
                assert root in {"torch", "multidiff"} | sys.stdlib_module_names, f"{path}: {name}"


def test_nothing_in_core_draws_noise_by_itself() -> None:
    """Law 4: noise is injected; only noise.py (and the stratified times of the loss, by a generator) draw."""
    for path in FILES:
        if room_of(path) == "core" and path.name != "noise.py":
            source = path.read_text()
            for forbidden in ("torch.randn(", "randn_like", "torch.manual_seed"):
                assert forbidden not in source, f"{path}: {forbidden}"


def test_input_is_never_checked_by_assert() -> None:
    for path in FILES:
        asserts = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)]
        assert not asserts, f"{path}:{asserts[0].lineno}"


def test_a_file_can_be_read_in_one_sitting() -> None:
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 400, path


def test_yaml_is_loaded_safely_and_no_pickle_is_read() -> None:
    for path in FILES:
        source = path.read_text()
        for forbidden in ("yaml.load(", "import pickle", "torch.load(", "allow_pickle=True"):
            assert forbidden not in source, f"{path}: {forbidden}"


def test_importing_multidiff_loads_nothing_heavy() -> None:
    import subprocess
    import sys

    code = "import multidiff, multidiff.cli, sys; print([m for m in ('torch', 'numpy', 'av') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_medium_is_imported_without_any_media_library() -> None:
    """Training from a pack runs where soundfile, av and trimesh are not installed."""
    import subprocess
    import sys

    code = (
        "import sys; from multidiff import registry; [registry.modality(n) for n in registry.MODALITIES];"
        "print([m for m in ('soundfile', 'librosa', 'av', 'trimesh', 'torchaudio', 'matplotlib', 'scipy')"
        " if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
