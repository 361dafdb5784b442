/// What a part of a model is for (`types.role`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The weights of the model itself.
    Weights,
    /// A low-rank adapter.
    Adapter,
    /// A projector from another modality.
    Projector,
    /// The weights of a draft model.
    Draft,
}

/// One file of a model component (`types.part`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The model's name.
    pub name: String,
    /// What the part is for.
    pub role: Role,
    /// File format, for example `gguf`.
    pub format: String,
    /// Bytes.
    pub size: u64,
    /// Lower-case hexadecimal SHA-256; empty where unknown.
    pub sha256: String,
    /// SPDX identifier or the file's own words; empty where unknown.
    pub license: String,
}
