use crate::activations::Activations;
use crate::arch::{Active, Simd};
use crate::buffer::Buffer;
use crate::formats::{
    BF16, F16, F32, GROUP_ROWS, IQ4_NL, IQ4_XS, Layout, MXFP4, Q2_K, Q3_K, Q4_0, Q4_1, Q4_K, Q5_0,
    Q5_1, Q5_K, Q6_K, Q8_0,
};
use crate::multiply::{Output, floating, quantised};

/// How a matrix was stored in the model file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, missing_docs)]
pub enum WeightsType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    IQ4_NL,
    IQ4_XS,
    MXFP4,
}

/// Runs an expression with `$layout` standing for the type's [`Layout`].
macro_rules! with_layout {
    ($weights_type:expr, $layout:ident => $expression:expr) => {
        with_layout!(
            $weights_type, $layout => $expression;
            F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4
        )
    };
    ($weights_type:expr, $layout:ident => $expression:expr; $($name:ident)*) => {
        match $weights_type {
            $(WeightsType::$name => {
                type $layout = $name;
                $expression
            })*
        }
    };
}

impl WeightsType {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::IQ4_NL,
        Self::IQ4_XS,
        Self::MXFP4,
    ];

    /// Columns of a block: rows are whole blocks.
    pub fn block_columns(self) -> usize {
        with_layout!(self, L => L::BLOCK_COLUMNS)
    }

    /// Bytes of a block in GGUF.
    pub fn block_bytes(self) -> usize {
        with_layout!(self, L => L::BLOCK_BYTES)
    }

    /// Bytes that a block takes in memory.
    pub fn block_bytes_in_memory(self) -> usize {
        self.tile_bytes() / GROUP_ROWS
    }

    /// The type that is spelled so: `Q4_K`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|weights_type| format!("{weights_type:?}") == name)
    }

    /// Bytes of a tile: one block of each of [`GROUP_ROWS`] rows, in kernel layout.
    pub fn tile_bytes(self) -> usize {
        with_layout!(self, L => L::TILE_BYTES)
    }

    /// The type as which matrices are stored in memory, and whose kernels compute them.
    pub fn stored_as(self) -> Self {
        match self {
            Self::Q3_K => Self::Q6_K,
            own => own,
        }
    }

    /// Whether tiles have as many bytes as their blocks have in GGUF. Some types have more.
    pub fn keeps_size(self) -> bool {
        self.tile_bytes() == GROUP_ROWS * self.block_bytes()
    }

    /// Puts GGUF blocks of one row into consecutive tiles, as row number `lane` of their group. The
    /// tiles are zeros there. This is how matrices are stored in memory, too
    /// ([`MatrixBuilder::whole_groups`]).
    /// # Panics
    /// Unless `blocks` are whole blocks, and the tiles as many; and `lane` is below
    /// [`GROUP_ROWS`].
    pub fn store_row(self, tiles: &mut [u8], lane: usize, blocks: &[u8]) {
        assert!(lane < GROUP_ROWS, "row {lane} of a group of {GROUP_ROWS}");
        let count = blocks.len() / self.block_bytes();
        assert!(
            blocks.len() == count * self.block_bytes() && tiles.len() == count * self.tile_bytes(),
            "{} bytes of blocks for {} bytes of tiles",
            blocks.len(),
            tiles.len()
        );
        with_layout!(self, L => {
            let tiles = tiles.chunks_exact_mut(L::TILE_BYTES);
            for (tile, block) in tiles.zip(blocks.chunks_exact(L::BLOCK_BYTES)) {
                L::store(tile, lane, block);
            }
        });
    }
}

/// A weight matrix in kernel layout.
pub struct Matrix {
    weights_type: WeightsType,
    rows: usize,
    columns: usize,
    /// Groups of 16 rows; the last is filled up with rows of zeros.
    memory: Buffer,
}

/// Memory did not suffice; holds the bytes that were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes of memory are not to be had")]
pub struct OutOfMemory(pub usize);

impl Matrix {
    /// Begins a matrix of `rows` by `columns`. Allocates it at once.
    /// # Errors
    /// Memory does not suffice.
    /// # Panics
    /// If a dimension is 0, or a row not a whole number of blocks
    /// ([`WeightsType::block_columns`]).
    pub fn builder(
        weights_type: WeightsType,
        rows: usize,
        columns: usize,
    ) -> Result<MatrixBuilder, OutOfMemory> {
        assert!(rows > 0 && columns > 0, "a matrix of {rows} by {columns}");
        let blocks = columns / weights_type.block_columns();
        assert!(blocks * weights_type.block_columns() == columns, "whole blocks in {columns}");
        let bytes = usize::try_from(Self::bytes_of(weights_type, rows, columns));
        let memory = Buffer::zeroed(bytes.map_err(|_| OutOfMemory(usize::MAX))?)?;
        let matrix = Self { weights_type, rows, columns, memory };
        Ok(MatrixBuilder { matrix, next: Place::default(), pending: Vec::new(), surplus: false })
    }

    /// Output length.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input length.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// How the weights are stored.
    pub fn weights_type(&self) -> WeightsType {
        self.weights_type
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.memory.len()
    }

    /// Bytes in memory of a matrix of `rows` by `columns`.
    pub fn bytes_of(weights_type: WeightsType, rows: usize, columns: usize) -> u64 {
        let tiles = columns as u64 / weights_type.block_columns() as u64;
        let group_bytes = tiles.saturating_mul(weights_type.tile_bytes() as u64);
        group_bytes.saturating_mul(rows.div_ceil(GROUP_ROWS) as u64)
    }

    /// Widens one row to f32 (embedding lookup). `out.len() == columns`.
    /// # Panics
    /// If there is no such row, or `out` has another length.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        assert!(out.len() == self.columns, "{} of {} columns", out.len(), self.columns);
        with_layout!(self.weights_type, L => load_row::<L>(&self.memory, row, out));
    }

    /// `out[t][row] = sum over k of self[row][k] * x[t][k]` for `out.len() / rows` tokens.
    ///
    /// Quantised weights multiply the activations' 8-bit values, F32 and F16 the f32 values. An
    /// output has the same bits whatever the number of tokens, and in whichever matrix its row
    /// stands.
    /// # Panics
    /// Unless the activations were prepared with the matrix's columns for that many tokens.
    pub fn multiply(&self, activations: &mut Activations, out: &mut [f32]) {
        self.multiply_with::<Active>(activations, out);
    }

    pub(crate) fn multiply_with<S: Simd>(&self, activations: &mut Activations, out: &mut [f32]) {
        assert!(
            activations.columns == self.columns,
            "activations of {} columns for a matrix of {}",
            activations.columns,
            self.columns
        );
        assert!(
            out.len() == activations.tokens * self.rows,
            "{} outputs for {} tokens of {} rows",
            out.len(),
            activations.tokens,
            self.rows
        );
        let out = Output::new(out, self.rows);
        match self.weights_type.stored_as() {
            WeightsType::F32 => floating::<S, F32>(&self.memory, activations, out),
            WeightsType::F16 => floating::<S, F16>(&self.memory, activations, out),
            WeightsType::BF16 => floating::<S, BF16>(&self.memory, activations, out),
            WeightsType::Q4_0 => quantised::<S, Q4_0>(&self.memory, activations, out),
            WeightsType::Q4_1 => quantised::<S, Q4_1>(&self.memory, activations, out),
            WeightsType::Q5_0 => quantised::<S, Q5_0>(&self.memory, activations, out),
            WeightsType::Q5_1 => quantised::<S, Q5_1>(&self.memory, activations, out),
            WeightsType::Q8_0 => quantised::<S, Q8_0>(&self.memory, activations, out),
            WeightsType::Q2_K => quantised::<S, Q2_K>(&self.memory, activations, out),
            WeightsType::Q4_K => quantised::<S, Q4_K>(&self.memory, activations, out),
            WeightsType::Q5_K => quantised::<S, Q5_K>(&self.memory, activations, out),
            WeightsType::Q6_K => quantised::<S, Q6_K>(&self.memory, activations, out),
            WeightsType::IQ4_NL => quantised::<S, IQ4_NL>(&self.memory, activations, out),
            WeightsType::IQ4_XS => quantised::<S, IQ4_XS>(&self.memory, activations, out),
            WeightsType::MXFP4 => quantised::<S, MXFP4>(&self.memory, activations, out),
            WeightsType::Q3_K => unreachable!("stored as Q6_K"),
        }
    }
}

fn load_row<L: Layout>(memory: &[u8], row: usize, out: &mut [f32]) {
    let group_bytes = out.len() / L::BLOCK_COLUMNS * L::TILE_BYTES;
    let group = &memory[row / GROUP_ROWS * group_bytes..][..group_bytes];
    let blocks = out.chunks_exact_mut(L::BLOCK_COLUMNS);
    for (tile, out) in group.chunks_exact(L::TILE_BYTES).zip(blocks) {
        L::load(tile, row % GROUP_ROWS, out);
    }
}

/// Fills a [`Matrix`] from rows in GGUF's layout, streaming: only an incomplete block waits.
pub struct MatrixBuilder {
    matrix: Matrix,
    next: Place,
    /// The beginning of a block.
    pending: Vec<u8>,
    /// Whether bytes came behind the last block.
    surplus: bool,
}

/// Where a block belongs.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    row: usize,
    block: usize,
}

impl MatrixBuilder {
    /// The memory of all whole groups of [`GROUP_ROWS`] rows, to be filled with what
    /// [`WeightsType::store_row`] makes of them, group by group. Only the rows behind them are to
    /// be pushed then.
    /// # Panics
    /// If bytes have been pushed.
    pub fn whole_groups(&mut self) -> &mut [u8] {
        let Matrix { weights_type, rows, columns, ref mut memory } = self.matrix;
        let begun = self.next.row > 0 || self.next.block > 0 || !self.pending.is_empty();
        assert!(!begun, "nothing pushed before the whole groups");
        let groups = rows / GROUP_ROWS;
        self.next.row = groups * GROUP_ROWS;
        let group_bytes = columns / weights_type.block_columns() * weights_type.tile_bytes();
        &mut memory[..groups * group_bytes]
    }

    /// Appends GGUF bytes, any amount at a time.
    pub fn push(&mut self, bytes: &[u8]) {
        with_layout!(self.matrix.weights_type, L => self.push_blocks::<L>(bytes));
    }

    fn push_blocks<L: Layout>(&mut self, mut bytes: &[u8]) {
        if !self.pending.is_empty() {
            let missing = (L::BLOCK_BYTES - self.pending.len()).min(bytes.len());
            let (head, tail) = bytes.split_at(missing);
            self.pending.extend_from_slice(head);
            bytes = tail;
            if self.pending.len() < L::BLOCK_BYTES {
                return;
            }
            let block = std::mem::take(&mut self.pending);
            self.store::<L>(&block);
        }
        loop {
            if let Some((rows, tail)) = self.split_group::<L>(bytes) {
                self.store_group::<L>(rows);
                bytes = tail;
            } else if let Some((block, tail)) = bytes.split_at_checked(L::BLOCK_BYTES) {
                self.store::<L>(block);
                bytes = tail;
            } else {
                self.pending.extend_from_slice(bytes);
                return;
            }
        }
    }

    /// The rows of a group, if one begins and `bytes` have them all, and what is behind them.
    #[inline(always)]
    fn split_group<'a, L: Layout>(&self, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let begins = self.next.block == 0 && self.next.row.is_multiple_of(GROUP_ROWS);
        let row_bytes = self.matrix.columns / L::BLOCK_COLUMNS * L::BLOCK_BYTES;
        (begins && self.next.row + GROUP_ROWS <= self.matrix.rows)
            .then(|| bytes.split_at_checked(GROUP_ROWS * row_bytes))
            .flatten()
    }

    fn store_group<L: Layout>(&mut self, rows: &[u8]) {
        let row_bytes = rows.len() / GROUP_ROWS;
        let group_bytes = row_bytes / L::BLOCK_BYTES * L::TILE_BYTES;
        let tiles = &mut self.matrix.memory[self.next.row / GROUP_ROWS * group_bytes..];
        let tiles = tiles[..group_bytes].chunks_exact_mut(L::TILE_BYTES);
        for (tile, place) in tiles.zip((0..row_bytes).step_by(L::BLOCK_BYTES)) {
            let block = |lane| &rows[lane * row_bytes + place..][..L::BLOCK_BYTES];
            L::store_all(tile, std::array::from_fn(block));
        }
        self.next.row += GROUP_ROWS;
    }

    #[inline(always)]
    fn store<L: Layout>(&mut self, block: &[u8]) {
        let blocks = self.matrix.columns / L::BLOCK_COLUMNS;
        if self.next.row == self.matrix.rows {
            self.surplus = true;
            return;
        }
        let tile = self.next.row / GROUP_ROWS * blocks + self.next.block;
        let tile = &mut self.matrix.memory[tile * L::TILE_BYTES..][..L::TILE_BYTES];
        L::store(tile, self.next.row % GROUP_ROWS, block);
        self.next.block += 1;
        if self.next.block == blocks {
            self.next = Place { row: self.next.row + 1, block: 0 };
        }
    }

    /// The finished matrix.
    /// # Panics
    /// Unless exactly the matrix's bytes were pushed.
    pub fn finish(self) -> Matrix {
        let Self { matrix, next, pending, surplus } = self;
        assert!(
            next.row == matrix.rows && pending.is_empty() && !surplus,
            "the bytes of {} rows were pushed, {}",
            matrix.rows,
            if next.row < matrix.rows { "not fewer" } else { "not more" }
        );
        matrix
    }
}
