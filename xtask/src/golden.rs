//! Remakes the golden data that come from generated models.

use std::process::Command;

use anyhow::Result;

use crate::bench::peers;
use crate::{command, root};

/// Writes the models.
const GGUF: &str = "gguf==0.19.0";
/// Renders the chat templates.
const JINJA: &str = "jinja2==3.1.6";

/// Runs `golden/golden.py`: tiny random models, and what llama.cpp computes with them, of which
/// `names` chooses some; without names also `golden/tokenizers.py`: texts, and llama.cpp's tokens;
/// `golden/samplers.py`: logits, and what llama.cpp's samplers leave of them;
/// `golden/templates.py`: conversations in chat templates, as Jinja renders them; and
/// `golden/schemas.py`: JSON schemas.
pub(crate) fn make(names: &[String]) -> Result<()> {
    let python = peers::python()?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", GGUF, JINJA]);
    command::run_quietly(&mut pip)?;
    let mut golden = Command::new(&python);
    golden.arg(root().join("xtask/golden/golden.py"));
    golden.arg(root().join("tests/reference")).args(names);
    command::run(&mut golden)?;
    if names.is_empty() {
        let mut tokenizers = Command::new(&python);
        tokenizers.arg(root().join("xtask/golden/tokenizers.py"));
        tokenizers.arg(root().join("tests/reference/tokenizers"));
        command::run(&mut tokenizers)?;
        let mut samplers = Command::new(&python);
        samplers.arg(root().join("xtask/golden/samplers.py"));
        samplers.arg(root().join("tests/reference/architectures/llama.gguf"));
        samplers.arg(root().join("tests/reference/samplers/samplers.json"));
        command::run(&mut samplers)?;
        for folder in ["constructs", "families"] {
            let mut templates = Command::new(&python);
            templates.arg(root().join("xtask/golden/templates.py"));
            templates.arg(root().join("tests/reference/templates").join(folder));
            command::run(&mut templates)?;
        }
        let mut schemas = Command::new(&python);
        schemas.arg(root().join("xtask/golden/schemas.py"));
        schemas.arg(root().join("tests/reference/schemas"));
        command::run(&mut schemas)?;
    }
    Ok(())
}
