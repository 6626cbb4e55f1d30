"""`jaxhar weights` with files on the disk and with a download, whose own test is beside its module."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch

from jaxhar import port, zoo
from jaxhar.cli import main as cli
from jaxhar.host import download, files
from jaxhar.host.download_test import server  # noqa: F401
from jaxhar.host.errors import Usage
from jaxhar.models.mae import zoo as mae
from jaxhar.models.reception import zoo as reception
from jaxhar.models.reception.network import ReceptionConfig
from jaxhar.predict import inpaint
from jaxhar.weights import checkpoint, keras
from parity_tests import cases

TINY = ReceptionConfig.tiny(num_blocks=1)


@pytest.fixture
def release(tmp_path, monkeypatch):
    """A release file of a small network, which the zoo now gives as that of reception-mpii."""
    flat = cases.seeded_weights(TINY)
    port.save_keras(tmp_path / "release.h5", flat, TINY)
    md5 = hashlib.md5((tmp_path / "release.h5").read_bytes()).hexdigest()
    entry = dataclasses.replace(zoo.entry("reception-mpii"), config=TINY, md5=md5)
    monkeypatch.setitem(reception.ENTRIES, "reception-mpii", entry)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "release.h5"


def run(*words):
    return cli.main(["weights", *map(str, words)])


def ported(folder):
    model, meta = checkpoint.load_model(folder)
    flat = port.to_flat(model)
    for name, array in cases.seeded_weights(TINY).items():
        np.testing.assert_array_equal(flat[name], array)
    return meta


def test_a_file_from_the_disk(release, tmp_path, capsys):
    assert run("reception-mpii", "--from", release) == 0
    assert "every one placed and checked" in capsys.readouterr().out
    assert ported(tmp_path / "reception-mpii").skeleton == zoo.entry("reception-mpii").skeleton
    assert run("reception-mpii", "--from", release, "--out", "there") == 0
    ported(tmp_path / "there")


def test_a_download(release, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(download, "fetch", lambda *args, **options: asked.append((*args, options)) or release)
    assert run("reception-mpii", "--no-progress") == 0
    ported(tmp_path / "reception-mpii")
    entry = zoo.entry("reception-mpii")
    assert asked == [(entry.release, entry.md5, {"folder": files.cache_folder(), "progress": False})]


def test_a_file_without_a_checksum_is_fetched_by_hand(release, tmp_path, monkeypatch, capsys):
    address = "https://files.example/uc?id=7"
    monkeypatch.setitem(
        reception.ENTRIES, "reception-mpii", dataclasses.replace(zoo.entry("reception-mpii"), release=address, md5="")
    )
    assert run("reception-mpii") == 2
    said = capsys.readouterr().err
    assert address in said and "--from" in said and said.count("\n") == 1
    assert run("reception-mpii", "--from", release) == 0
    assert hashlib.sha256(release.read_bytes()).hexdigest() in capsys.readouterr().out
    ported(tmp_path / "reception-mpii")


def test_a_file_of_other_settings_tells_them_where_no_checksum_vouches_for_it(release, tmp_path, monkeypatch, capsys):
    other = dataclasses.replace(TINY, kernel_size=3)
    entry = dataclasses.replace(zoo.entry("reception-mpii"), config=other)
    monkeypatch.setitem(reception.ENTRIES, "reception-mpii", entry)
    monkeypatch.setattr(keras, "infer_config", lambda groups: TINY, raising=False)
    assert run("reception-mpii", "--from", release) == 1
    assert "wrong shape" in capsys.readouterr().err
    monkeypatch.setitem(reception.ENTRIES, "reception-mpii", dataclasses.replace(entry, md5=""))
    assert run("reception-mpii", "--from", release) == 0
    assert "they are inferred from the file" in capsys.readouterr().out
    assert ported(tmp_path / "reception-mpii").config == TINY
    monkeypatch.setattr(keras, "infer_config", lambda groups: dataclasses.replace(TINY, num_joints=17))
    assert run("reception-mpii", "--from", release) == 1


def test_what_a_file_tells_of_its_settings_is_said(tmp_path, monkeypatch, capsys):
    config = ReceptionConfig.tiny(num_blocks=1, num_joints=17, num_context=0, depth_maps=4, depth_grid="centres")
    port.save_keras(tmp_path / "release.h5", cases.seeded_weights(config), config)
    ends = dataclasses.replace(config, depth_grid="ends")
    entry = dataclasses.replace(zoo.entry("reception-h36m"), config=ends, md5="")
    monkeypatch.setitem(reception.ENTRIES, "reception-h36m", entry)
    for words in (("weights", "reception-h36m", "--from"), ("port", "--model", "reception-h36m")):
        out = tmp_path / words[0]
        assert cli.main([*words, str(tmp_path / "release.h5"), "--out", str(out)]) == 0
        assert "depth_grid=centres, as the constants in" in capsys.readouterr().out
        assert checkpoint.load_model(out)[1].config == config
    assert cli.main(["port", str(out), "--out", str(tmp_path / "w.pth")]) == 0
    assert cli.main(["port", str(tmp_path / "w.pth"), "--model", "reception-h36m", "--out", str(tmp_path / "x")]) == 0
    assert "--set depth_grid=centres takes the other" in capsys.readouterr().out


def test_what_is_refused(release, tmp_path, monkeypatch, capsys):
    (tmp_path / "cut.h5").write_bytes(release.read_bytes()[:-1])
    monkeypatch.setitem(
        reception.ENTRIES, "unpublished", dataclasses.replace(zoo.entry("reception-mpii"), release="", md5="")
    )
    wrong = {
        ("reception-coco",): (2, "no network is named"),
        ("unpublished",): (2, "no weights were published for unpublished"),
        ("reception-mpii", "--from", "cut.h5"): (1, "cut.h5 is not weights_PE_MPII_cvpr18_19-09-2017.h5: its md5 is"),
        ("reception-mpii", "--from", "none.h5"): (1, "none.h5: there is no such file; the release file is at https://"),
    }
    for words, (code, sentence) in wrong.items():
        assert run(*words) == code, words
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and sentence in error, error
    assert not (tmp_path / "reception-mpii").exists()


def test_a_licence_is_said_and_accepted_before_anything_is_fetched(server, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setenv("JAXHAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    config = zoo.tiny("mae-st-vit-l")
    flat = cases.seeded_weights(config)
    state = {name: torch.as_tensor(array) for name, array in port.to_torch(flat, config).items()}
    torch.save({"model_state": state}, tmp_path / "k400.pyth")
    server.content = (tmp_path / "k400.pyth").read_bytes()
    addresses = [f"{server.url}/{data}.pyth" for data in ("k400", "k600")]
    entry = dataclasses.replace(
        zoo.entry("mae-st-vit-l"), config=config, release=addresses[0], variants=(("k600", addresses[1]),)
    )
    monkeypatch.setitem(mae.FAMILY.entries, "mae-st-vit-l", entry)
    assert run("mae-st-vit-l") == 2
    said = capsys.readouterr()
    assert (
        f"not fetched yet, about 0 MB from {addresses[0]}" in said.out
        and "licence: CC-BY-NC 4.0, no commercial use" in said.out
    )
    assert "must be accepted first: `jaxhar weights NAME --accept-licence`" in said.err and server.asked == []
    with pytest.raises(Usage, match="accept-licence"):
        inpaint.load("mae-st-vit-l", {})
    assert run("mae-st-vit-l", "--accept-licence", "--no-progress") == 0
    said = capsys.readouterr().out
    assert hashlib.sha256(server.content).hexdigest() in said and "every one placed and checked" in said
    for model in (checkpoint.load_model(tmp_path / "mae-st-vit-l")[0], inpaint.load("mae-st-vit-l", {})[0]):
        for name, array in port.to_flat(model).items():
            np.testing.assert_array_equal(array, flat[name])
    assert server.asked == [None], "the name in place of a path takes what was fetched"
    assert run("mae-st-vit-l", "--variant", "k600", "--accept-licence", "--no-progress") == 0
    assert (tmp_path / "mae-st-vit-l-k600").is_dir() and len(server.asked) == 2
    assert run("mae-st-vit-l", "--variant", "k500") == 2
    assert "of mae-st-vit-l there are k600" in capsys.readouterr().err


def test_the_files_of_mae_st_have_addresses_of_their_own():
    entries = [zoo.entry(f"mae-st-vit-{letter}") for letter in "lh"]
    addresses = [address for entry in entries for address in (entry.release, *dict(entry.variants).values())]
    assert len({*addresses}) == 6 and all(entry.accept and entry.licence.startswith("CC-BY-NC") for entry in entries)
    assert addresses[0].endswith("/mae_st/pretrain/vit_l/k400_400ep_rep4_mr9_16x4.pyth")
