"""Folders of files with captions: metadata, splits and filters."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from multidiff.dataset import DataSpec, Entry, entries, metadata, of_others
from multidiff.errors import InputError


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return folder


def names(root: Path, split: str = "train", **spec: object) -> list[str]:
    return [entry.path.name for entry in entries(root, (".wav",), DataSpec.model_validate(spec), split)]


def test_without_metadata_every_file_counts_and_its_folder_is_its_label(tmp_path: Path) -> None:
    files(tmp_path, "dog_bark/a.wav", "dog_bark/b.WAV", "rain/c.wav", "d.wav", "rain/.hidden.wav", "notes.txt")
    found = entries(tmp_path, (".wav",), DataSpec(val="label=rain"), "train")
    assert [(e.path.name, e.label, e.caption) for e in found] == [
        ("d.wav", "", ""),
        ("a.wav", "dog_bark", "dog bark"),
        ("b.WAV", "dog_bark", "dog bark"),
    ]
    assert names(tmp_path, "val", val="label=rain") == ["c.wav"]
    assert names(tmp_path, where={"label": "rain"}, val="label=none") == ["c.wav"]


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte-order mark"])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_metadata_of_both_kinds_reads_alike(tmp_path: Path, kind: str, mark: str) -> None:
    rows = [
        {"file_name": "a.wav", "text": "a dog, barking", "label": "dog", "fold": 1},
        {"file_name": "b.wav", "text": "ein Hund, \u00fcber\u2028laut", "label": None, "fold": 2},
    ]
    if kind == "csv":
        text = "file_name,text,label,fold\n" + "\n".join(
            f'{r["file_name"]},"{r["text"]}",{r["label"] or ""},{r["fold"]}' for r in rows
        )
    else:
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n"
    (tmp_path / f"metadata.{kind}").write_text(mark + text, "utf-8")
    assert metadata(tmp_path) == [
        {"file_name": "a.wav", "text": "a dog, barking", "label": "dog", "fold": "1"},
        {"file_name": "b.wav", "text": "ein Hund, \u00fcber\u2028laut", "label": "", "fold": "2"},
    ]
    assert entries(tmp_path, (".wav",), DataSpec(val="fold=2"), "train") == [
        Entry(tmp_path / "a.wav", "a dog, barking", "dog", metadata(tmp_path)[0])
    ]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("metadata.csv", b"", r"metadata\.csv: has no rows; list the files in it, or remove it"),
        ("metadata.csv", b"file_name,text\n", r"metadata\.csv: has no rows"),
        ("metadata.csv", b"name,text\na.wav,dog\n", "names no file in 'file_name'; it has {'name': 'a.wav'"),
        ("metadata.csv", b"file_name,text\na.wav,dog\n,cat\n", "names no file in 'file_name'.*cat"),
        ("metadata.csv", b"file_name,text\na.wav,\xff\xfe\n", r"metadata\.csv: cannot be parsed"),
        ("metadata.csv", b'file_name,text\na.wav,"dog\n', r"metadata\.csv: cannot be parsed"),
        ("metadata.jsonl", b'{"file_name": "a.wav"', r"metadata\.jsonl: cannot be parsed"),
        ("metadata.jsonl", b'["a.wav", "dog"]', r"metadata\.jsonl: cannot be parsed"),
        ("metadata.jsonl", b'{"file_name": "a.wav"}\n{"text": "dog"}', "names no file in 'file_name'"),
    ],
)
def test_broken_metadata_is_one_clear_error(tmp_path: Path, name: str, text: bytes, said: str) -> None:
    files(tmp_path, "a.wav")
    (tmp_path / name).write_bytes(text)
    with pytest.raises(InputError, match=said) as caught:
        names(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_metadata_that_is_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").mkdir()
    with pytest.raises(InputError, match=r"metadata\.csv: cannot be parsed"):
        names(tmp_path)


def test_a_missing_or_foreign_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such folder; set data\.root"):
        names(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no file of the kinds \.wav"):
        names(files(tmp_path, "a.mp4"))


def table(folder: Path, *rows: str) -> Path:
    (folder / "metadata.csv").write_text("\n".join(("file_name,label,split,fold", *rows)))
    return folder


def test_a_column_split_is_obeyed_and_test_items_never_train(tmp_path: Path) -> None:
    table(tmp_path, "a.wav,dog,train,1", "b.wav,dog,val,2", "c.wav,cat,test,1", "d.wav,cat,test_hard,2", "e.wav,cat,,3")
    assert names(tmp_path) == ["a.wav", "e.wav"]
    assert names(tmp_path, "val") == ["b.wav"]
    assert names(tmp_path, "test") == ["c.wav"]
    assert names(tmp_path, "test_hard") == ["d.wav"]
    assert names(tmp_path, "val", val="fold=2") == ["b.wav"]
    assert names(tmp_path, val="fold=3") == ["a.wav", "b.wav"]


def test_the_hub_names_of_splits_are_understood(tmp_path: Path) -> None:
    table(tmp_path, "a.wav,dog,train,1", "b.wav,dog,validation,2")
    assert names(tmp_path) == ["a.wav"]
    assert names(tmp_path, "val") == ["b.wav"]


def test_without_a_column_one_item_in_ten_is_held_out_whatever_else_is_there(tmp_path: Path) -> None:
    table(tmp_path, *(f"{i}.wav,dog,,{i % 5}" for i in range(1000)))
    train, val = names(tmp_path), names(tmp_path, "val")
    assert 70 < len(val) < 130
    assert not set(train) & set(val)
    assert len(train) + len(val) == 1000
    fewer = names(tmp_path, "val", where={"fold": [1, 2]})
    assert fewer == [name for name in val if int(name.removesuffix(".wav")) % 5 in (1, 2)]
    assert names(tmp_path, limit=7) == train[:7]


def test_a_filter_by_a_column_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    table(tmp_path, "a.wav,dog,,1")
    for spec in ({"where": {"fould": "1"}}, {"val": "fould=1"}):
        with pytest.raises(InputError, match="no item has a column 'fould' to choose by, did you mean 'fold'"):
            names(tmp_path, **spec)


@pytest.mark.parametrize("val", ["fold", "=4", "fold="])
def test_val_is_written_column_equals_value(val: str) -> None:
    with pytest.raises(ValidationError, match="is written column=value"):
        DataSpec(val=val)


def test_a_models_choice_goes_to_other_folders_where_they_are_of_its_kind(tmp_path: Path) -> None:
    spec = DataSpec(root="own", where={"label": "dog"}, val="fold=2", limit=5)
    table(tmp_path, "a.wav,dog,train,1", "b.wav,dog,train,2", "c.wav,cat,train,1")
    assert of_others(spec, ("./own",)) == (spec.model_copy(update={"root": ("./own",)}), False)
    assert of_others(spec, (str(tmp_path),)) == (spec.model_copy(update={"root": (str(tmp_path),)}), False)
    plain = DataSpec(root=str(tmp_path))
    assert of_others(spec.model_copy(update={"where": {"label": ("owl",)}}), (str(tmp_path),)) == (plain, True)
    assert of_others(spec.model_copy(update={"val": "year=2"}), (str(tmp_path),)) == (plain, True)
    assert names(tmp_path, "all") == ["a.wav", "b.wav", "c.wav"]


def test_of_several_folders_one_may_hold_out_and_another_only_train(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    folded = table(tmp_path / "a", "a.wav,dog,,1", "b.wav,dog,,2")
    plain = files(tmp_path / "b", "c.wav", "d.wav")
    spec = DataSpec(root=(str(folded), str(plain)), val="fold=2")
    held = {
        split: [[entry.path.name for entry in entries(root, (".wav",), spec, split)] for root in spec.root]
        for split in ("train", "val")
    }
    assert held == {"train": [["a.wav"], ["c.wav", "d.wav"]], "val": [["b.wav"], []]}
