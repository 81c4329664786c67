from __future__ import annotations

import re
from pathlib import Path

from vlar.pose import networks


def test_demo_does_the_whole_chain(vlar_command, tmp_path: Path):
    library = tmp_path / "demo.vlar"
    done = vlar_command("demo", "--library", library)
    assert done.code == 0
    assert done.notes == ""
    for expected in ("bikes.mp4", "vlar query demo.vlar", "vlar classify YOUR_VIDEO.mp4",
                     "vlar serve my.vlar", "vlar models get pe-core"):  # fmt: skip
        assert expected in done.out
    assert "site-packages" not in done.out  # names alone: lines stay short
    assert len(re.findall(r", \d+ %  \w+\.mp4", done.out)) >= 2  # verdicts, then their files
    assert "yes: a cartoon animal" in done.out
    for odd in ("body is seen", "vlar adapt"):
        assert odd not in done.out
    bikes, phone = done.out.split("vlar query")[1:3]
    first = [line for line in bikes.splitlines() if line.lstrip().startswith("1.")]
    assert "bikes.mp4" in first[0]
    least = 50 if networks.is_installed() else 40  # README's first command fetches the bodies
    assert float(first[0].split()[1].rstrip("%")) >= least
    first = [line for line in phone.splitlines() if line.lstrip().startswith("1.")]
    assert "carphone_pristine.mp4" in first[0]
    assert float(first[0].split()[1].rstrip("%")) >= 50
    assert (library / "library.sqlite").is_file()


def test_doctor_and_models(vlar_command):
    done = vlar_command("doctor", "--json")
    assert done.code == 0
    assert all(row["ok"] for row in done.rows)
    (decoder,) = (row["detail"] for row in done.rows if row["check"] == "decoder")
    assert decoder.endswith("H.264, HEVC, VP9, AV1, MPEG-4")
    models = {row["alias"]: row for row in vlar_command("models", "--json").rows if "alias" in row}
    assert models["lite"]["here"]
    assert models["siglip2"]["spec"].startswith("hf:google/siglip2")
    first, *_ = vlar_command("models", "--for", "query", "--json").rows
    assert (first["alias"], first["rank"]) == ("lite", 1)
    done = vlar_command("models", "--methods", "--json")
    names = {(row["kind"], row["name"]) for row in done.rows}
    assert {("encoder", "lite"), ("fewshot", "prototype"), ("fewshot", "cache")} <= names
    assert ("fewshot", "ridge") in names


def test_check_names_the_broken(vlar_command, demo_clips, tmp_path: Path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    table = tmp_path / "bad.csv"
    done = vlar_command("check", demo_clips["bikes"], broken, "--csv", table)
    assert done.code == 1
    assert "1 of 2 recordings are fine" in done.out
    assert table.read_text().splitlines()[1].startswith(f"{broken},")


def test_help_names_every_verb(vlar_command):
    done = vlar_command("--help")
    assert done.code == 0
    for verb in ("classify", "adapt", "index", "query", "check", "models", "doctor", "demo"):
        assert verb in done.out
