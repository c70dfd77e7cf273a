import inspect
from pathlib import Path

import pytest
from hydra.utils import get_method
from omegaconf import OmegaConf

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
    }


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_arguments_fit_the_target(path, cache):
    assert path.read_text().startswith("# "), "the first line says what it is"
    config = OmegaConf.to_container(OmegaConf.load(path))
    inspect.signature(get_method(config.pop("_target_"))).bind(**config)
    assert not cache.exists()


def test_small_config_is_the_default(cache):
    config = OmegaConf.to_container(OmegaConf.load(FOLDER / "synthetic.yaml"))
    load = get_method(config.pop("_target_"))
    assert config == {name: parameter.default for name, parameter in inspect.signature(load).parameters.items()}
