import inspect
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import get_method, instantiate
from omegaconf import OmegaConf

from multipath_gcn.data.roots import MissingData

FOLDER = Path(__file__).parents[2] / "conf/data"
CONFIGS = sorted(FOLDER.glob("*.yaml"))


def test_all_are_there():
    assert {path.stem for path in CONFIGS} >= {
        "digits",
        "cora",
        "citeseer",
        "pubmed",
        "amazon_computers",
        "amazon_photo",
        "coauthor_cs",
        "cora_full",
        "reddit",
        "ogbn_arxiv",
        "ogbn_products",
        "ogbn_proteins",
        "ogbn_mag",
        "synthetic",
        "synthetic_arxiv",
        "cifar10",
        "cifar100",
        "tiny_imagenet",
        "imagenet",
        "digit_images",
    }


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_arguments_fit_the_target(path, cache):
    assert path.read_text().startswith("# "), "the first line says what it is"
    with initialize_config_dir(str(FOLDER.parent.resolve()), version_base="1.3"):
        config = OmegaConf.to_container(compose(f"data/{path.stem}").data)  # one may build on another
    inspect.signature(get_method(config.pop("_target_"))).bind(**config)
    assert not cache.exists()


@pytest.mark.parametrize("name", ["synthetic", "digit_images"])
def test_small_config_is_the_default(name, cache):
    config = OmegaConf.to_container(OmegaConf.load(FOLDER / f"{name}.yaml"))
    load = get_method(config.pop("_target_"))
    assert config == {name: parameter.default for name, parameter in inspect.signature(load).parameters.items()}


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "tiny_imagenet", "imagenet"])
def test_arguments_of_images_are_in_range(name, cache, monkeypatch):
    def no_hub(*args, **kwargs):
        raise OSError("no network in tests")

    monkeypatch.setattr("datasets.load_dataset", no_hub)
    with pytest.raises(InstantiationException) as caught:
        instantiate(OmegaConf.load(FOLDER / f"{name}.yaml"))
    cause = caught.value.__cause__  # the first thing wrong is that there is no data
    assert isinstance(cause, MissingData) and "no network in tests" in str(cause)
    assert f"in {name}: train-*.parquet" in str(cause)
