//! `docs/models.md` says what the code supports. `cargo xtask docs` rewrites it.
#![allow(clippy::expect_used)]

use std::fmt::Write;
use std::path::Path;

use trefoil_decoder::{ARCHITECTURES, Purpose, WeightsType};
use trefoil_tokenizer::pre_tokenizers;

fn page() -> String {
    let mut text = String::from(
        "# Models\n\n`cargo xtask docs` writes this page from the code. Anything else is refused by \
         name.\n\n## Architectures\n\n| `general.architecture` | models | for |\n|---|---|---|\n",
    );
    for row in ARCHITECTURES {
        let purpose = match row.purpose {
            Purpose::Generation => "generating and embedding",
            Purpose::Embedding => "embedding",
        };
        let _ = writeln!(text, "| `{}` | {} | {purpose} |", row.name, row.families);
    }
    text += "\nEmbeddings are vectors of length 1. How they are made of the tokens' vectors, the file \
             says with `{arch}.pooling_type` (1 the mean, 2 the first, 3 the last), or the setting \
             `pooling`. An encoder with 4 there ranks texts instead: it says how well a document \
             goes with a query (`cls.output.weight`, with or without `cls.weight`).\n";
    text += "\n## Types of matrices\n\nTypes without kernels of their own are stored in memory as \
             another type when a model is loaded: exact, but larger. Vectors are F32.\n\n\
             | type | bits per weight in the file | in memory | computed by |\n|---|---:|---:|---|\n";
    for weights_type in WeightsType::ALL {
        let stored = weights_type.stored_as();
        let bits = |bytes: usize, columns: usize| bytes as f64 * 8.0 / columns as f64;
        let file = bits(weights_type.block_bytes(), weights_type.block_columns());
        let memory = bits(weights_type.block_bytes_in_memory(), weights_type.block_columns());
        let kernels = match stored == weights_type {
            true => "kernels of its own".to_owned(),
            false => format!("those of {stored:?}"),
        };
        let _ = writeln!(text, "| {weights_type:?} | {file:.2} | {memory:.2} | {kernels} |");
    }
    text += "\n## Tokenizers\n\nSentencePiece's BPE (`tokenizer.ggml.model` = `llama`), WordPiece \
             (`bert`), and byte-level BPE (`gpt2`) with these pre-tokenizers (`tokenizer.ggml.pre`; those in one \
             line cut texts alike):\n\n";
    for names in pre_tokenizers() {
        let _ = writeln!(text, "- `{}`", names.join("`, `"));
    }
    text
}

#[test]
fn the_page_of_models_is_true() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/models.md");
    let page = page();
    if std::env::var_os("TREFOIL_REWRITE_DOCS").is_some() {
        std::fs::write(&path, &page).expect("docs/ can be written");
    }
    let found = std::fs::read_to_string(&path).expect("docs/models.md exists");
    assert!(found == page, "docs/models.md is old: run `cargo xtask docs`");
}
