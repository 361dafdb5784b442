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

/// [`Part::format`] of a GGUF file.
pub const FORMAT_GGUF: &str = "gguf";

/// [`Part::format`] of a GGUF file whose matrices lie in memory layout, 16 rows side by side: a
/// matrix's whole groups of 16 rows in the layout of `trefoil-kernels`, the rows behind them as
/// in GGUF. All sizes and places are those of a GGUF file.
pub const FORMAT_GGUF_ROWS_16: &str = "gguf-rows-16";

/// Metadata of [`FORMAT_GGUF_ROWS_16`]: the version of the layout, u32.
pub const ROWS_16_VERSION_KEY: &str = "trefoil.rows_16.version";

/// Metadata of [`FORMAT_GGUF_ROWS_16`]: SHA-256 of the GGUF file that it was made of.
pub const ROWS_16_SOURCE_KEY: &str = "trefoil.rows_16.source_sha256";

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
