//! The table of architectures.

use trefoil_contract::{Error, Result};
use trefoil_kernels::RopeLayout;

/// What distinguishes one architecture from the others. The decoder itself is one: a further
/// architecture is a further row, and a difference that no row has yet is a further column.
#[derive(Debug, PartialEq, Eq)]
pub struct Architecture {
    /// The value of `general.architecture`, which is also the prefix of the model's keys.
    pub name: &'static str,
    /// Which elements of a head RoPE turns together.
    pub rope_layout: RopeLayout,
}

/// All that this decoder computes.
pub const ARCHITECTURES: &[Architecture] = &[
    // Files hold the query and key rows permuted for neighbouring pairs (llama.cpp,
    // convert_hf_to_gguf.py `permute`; llama-model.cpp `LLAMA_ROPE_TYPE_NORM`).
    Architecture { name: "llama", rope_layout: RopeLayout::Interleaved },
];

/// Finds the row of an architecture.
///
/// # Errors
/// `unsupported` with the list of names.
pub(crate) fn architecture(name: &str) -> Result<&'static Architecture> {
    ARCHITECTURES.iter().find(|row| row.name == name).ok_or_else(|| {
        let names: Vec<_> = ARCHITECTURES.iter().map(|row| format!("`{}`", row.name)).collect();
        Error::unsupported(format_args!(
            "architecture `{name}`; this engine computes {}",
            names.join(", ")
        ))
    })
}
