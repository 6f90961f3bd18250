from __future__ import annotations

from llm.stages import StageSpec, run_stage
from tasks.lineage import lineage


def build(name, root, **inputs):
    spec = StageSpec(name=name, version=1, config={"of": name}, inputs=inputs)
    return run_stage(spec, lambda folder: {"made": name}, root=root)


def test_lineage_walks_back_to_the_corpus_and_names_each_stage_once(tmp_path):
    corpus = build("corpus", tmp_path, archive="sha256:ab/../*")
    tokenizer = build("tokenizer", tmp_path, corpus=corpus)
    tokens = build("tokens", tmp_path, corpus=corpus, tokenizer=tokenizer)
    build("tokens-of-another", tmp_path, corpus=corpus)
    found = lineage(tokens, root=tmp_path)
    assert list(found) == [f"{stage.name}/{stage.key}" for stage in (tokens, corpus, tokenizer)]
    assert found[f"corpus/{corpus.key}"]["facts"] == {"made": "corpus"}
    assert found[f"corpus/{corpus.key}"]["inputs"] == {"archive": "sha256:ab/../*"}
    assert found[f"tokens/{tokens.key}"]["inputs"] == {"corpus": corpus.key, "tokenizer": tokenizer.key}


def test_an_input_whose_folder_is_gone_is_left_out_but_its_key_stays(tmp_path):
    corpus = build("corpus", tmp_path)
    tokenizer = build("tokenizer", tmp_path, corpus=corpus)
    (corpus.path / "manifest.json").unlink()
    found = lineage(tokenizer, root=tmp_path)
    assert list(found) == [f"tokenizer/{tokenizer.key}"]
    assert found[f"tokenizer/{tokenizer.key}"]["inputs"] == {"corpus": corpus.key}
