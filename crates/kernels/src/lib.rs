//! Numeric kernels over quantised weights.
#![allow(unused_variables, clippy::todo)]

/// How a matrix was stored in the model file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, missing_docs)]
pub enum WeightsType {
    F32,
    F16,
    Q4_0,
    Q4_1,
    Q8_0,
}

/// A weight matrix in kernel layout.
pub struct Matrix {}

/// Fills a [`Matrix`] from rows in GGUF's layout, streaming: only the rows of one group wait.
pub struct MatrixBuilder {}

/// Memory did not suffice; holds the bytes that were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory(pub usize);

impl Matrix {
    /// Begins a matrix of `rows` by `columns`. Allocates it at once.
    /// # Errors
    /// Memory does not suffice.
    pub fn builder(
        weights_type: WeightsType,
        rows: usize,
        columns: usize,
    ) -> Result<MatrixBuilder, OutOfMemory> {
        todo!()
    }
    /// Output length.
    pub fn rows(&self) -> usize {
        todo!()
    }
    /// Input length.
    pub fn columns(&self) -> usize {
        todo!()
    }
    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        todo!()
    }
    /// Widens one row to f32 (embedding lookup). `out.len() == columns`.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        todo!()
    }
    /// `out[t][row] = sum over k of self[row][k] * x[t][k]` for `out.len() / rows` tokens.
    pub fn multiply(&self, activations: &Activations, out: &mut [f32]) {
        todo!()
    }
}

impl MatrixBuilder {
    /// Appends GGUF bytes, any amount at a time.
    pub fn push(&mut self, bytes: &[u8]) {
        todo!()
    }
    /// The finished matrix.
    /// # Panics
    /// Unless exactly the matrix's bytes were pushed.
    pub fn finish(self) -> Matrix {
        todo!()
    }
}

/// Vectors to multiply with, prepared once for several matrices: f32 and 8-bit blocks of 32.
#[derive(Default)]
pub struct Activations {}

impl Activations {
    /// Prepares `x` of `x.len() / columns` tokens; reuses its buffers.
    pub fn prepare(&mut self, x: &[f32], columns: usize) {
        todo!()
    }
}
