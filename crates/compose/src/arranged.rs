//! A GGUF file whose matrices lie as the kernels of the CPU engines have them in memory, so that
//! loading is a copy ([`FORMAT_GGUF_ROWS_16`]). Made while it is read, a few rows at a time.
//!
//! A matrix's whole groups of 16 rows take the bytes that the rows had; the rows behind them stay.
//! So nothing moves but what stands behind the metadata, which gain two keys.

use std::io;
use std::sync::{Mutex, PoisonError};

use trefoil_contract::{ROWS_16_SOURCE_KEY, ROWS_16_VERSION_KEY};
use trefoil_gguf::{Gguf, Tensor, Value, push_key_value};
use trefoil_kernels::{GROUP_ROWS, LAYOUT_VERSION, WeightsType};

use crate::read_at::ReadAt;

/// Most bytes that are laid out at once, unless a single tile has more.
const CHUNK_BYTES: usize = 256 << 10;

/// Bytes of a file before its keys: magic, version, number of tensors, number of keys.
const COUNTS_BYTES: usize = 4 + 4 + 8 + 8;
/// Where the number of keys stands.
const KEYS_AT: usize = COUNTS_BYTES - 8;

/// The file as it would be.
pub(crate) struct Arranged<S> {
    source: S,
    /// All before the tensors' data.
    header: Vec<u8>,
    /// Where the data begin in the source.
    data_start: u64,
    /// Stretches to be laid out, in the order of the source.
    matrices: Vec<Matrix>,
    last: Mutex<Chunk>,
}

/// Whole groups of rows.
struct Matrix {
    weights_type: WeightsType,
    /// Where they begin in the source.
    begin: u64,
    /// Bytes of them.
    length: u64,
    /// Blocks of a row.
    blocks: usize,
    /// Blocks of a chunk: a row's, or some of them.
    chunk_blocks: usize,
}

/// Consecutive tiles of a group.
#[derive(Default)]
struct Chunk {
    /// Where they stand in the source; none yet while `tiles` is empty.
    begin: u64,
    tiles: Vec<u8>,
    rows: Vec<u8>,
}

impl<S: ReadAt> Arranged<S> {
    /// `gguf` is the header of `source`, `sha256` its digest.
    ///
    /// # Errors
    /// What reading the header says.
    pub(crate) fn new(source: S, gguf: &Gguf, sha256: &str) -> io::Result<Self> {
        let layout = &gguf.layout;
        let read = |range: &std::ops::Range<u64>| {
            let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
            let mut bytes = vec![0; length];
            source.read_at(range.start, &mut bytes)?;
            io::Result::Ok(bytes)
        };
        let mut header = vec![0; COUNTS_BYTES];
        source.read_at(0, &mut header)?;
        let keys = gguf.metadata.iter().count() as u64 + 2;
        header[KEYS_AT..].copy_from_slice(&keys.to_le_bytes());
        header.extend(read(&layout.metadata)?);
        push_key_value(ROWS_16_VERSION_KEY, &Value::from(LAYOUT_VERSION), &mut header);
        push_key_value(ROWS_16_SOURCE_KEY, &Value::from(sha256), &mut header);
        header.extend(read(&layout.tensors)?);
        // Places of data are relative to their start, which keeps the same alignment.
        header.resize(header.len().next_multiple_of(layout.alignment as usize), 0);
        let mut matrices: Vec<_> = gguf.tensors.iter().filter_map(Matrix::new).collect();
        matrices.sort_by_key(|matrix| matrix.begin);
        let data_start = layout.data.start;
        Ok(Self { source, header, data_start, matrices, last: Mutex::default() })
    }

    /// Reads as much as can be had at once from place `at` of the source on: returns how much.
    fn read_some(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let next = self.matrices.partition_point(|matrix| matrix.begin + matrix.length <= at);
        let until = match self.matrices.get(next) {
            Some(matrix) if matrix.begin <= at => return self.read_tiles(matrix, at, buffer),
            Some(matrix) => matrix.begin - at,
            None => u64::MAX,
        };
        let length = buffer.len().min(usize::try_from(until).unwrap_or(usize::MAX));
        self.source.read_at(at, &mut buffer[..length])?;
        Ok(length)
    }

    fn read_tiles(&self, matrix: &Matrix, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let behind_end = last.begin + last.tiles.len() as u64;
        if !(last.begin..behind_end).contains(&at) {
            last.fill(matrix, at, &self.source)?;
        }
        let from = usize::try_from(at - last.begin).map_err(io::Error::other)?;
        let tiles = &last.tiles[from..];
        let length = tiles.len().min(buffer.len());
        buffer[..length].copy_from_slice(&tiles[..length]);
        Ok(length)
    }
}

impl Matrix {
    /// The whole groups of a tensor that is one matrix of a type that kernels hold in the same size.
    fn new(tensor: &Tensor) -> Option<Matrix> {
        let (&[columns, rows], padding) = tensor.dimensions.split_first_chunk()?;
        let weights_type = WeightsType::named(tensor.tensor_type.name())?;
        if padding.iter().any(|size| *size != 1) || !weights_type.keeps_size() {
            return None;
        }
        // The tensor lies inside the file, so that nothing here overflows.
        let blocks = columns / weights_type.block_columns() as u64;
        let groups = rows / GROUP_ROWS as u64;
        let length = groups * blocks * weights_type.tile_bytes() as u64;
        let blocks = usize::try_from(blocks).ok()?;
        let chunk_blocks = (CHUNK_BYTES / weights_type.tile_bytes()).clamp(1, blocks);
        let matrix = Matrix { weights_type, begin: tensor.offset, length, blocks, chunk_blocks };
        (length > 0).then_some(matrix)
    }
}

impl Chunk {
    /// Lays out the chunk that has place `at`.
    fn fill(&mut self, matrix: &Matrix, at: u64, source: &impl ReadAt) -> io::Result<()> {
        let Matrix { weights_type, blocks, chunk_blocks, .. } = *matrix;
        let group_bytes = (blocks * weights_type.tile_bytes()) as u64;
        let row_bytes = (blocks * weights_type.block_bytes()) as u64;
        let group_begin = matrix.begin + (at - matrix.begin) / group_bytes * group_bytes;
        let tile = (at - group_begin) / weights_type.tile_bytes() as u64;
        let first = usize::try_from(tile).map_err(io::Error::other)? / chunk_blocks * chunk_blocks;
        let count = chunk_blocks.min(blocks - first);

        // Nothing is kept where reading fails.
        self.tiles.clear();
        self.begin = group_begin + (first * weights_type.tile_bytes()) as u64;
        let bytes = count * weights_type.block_bytes();
        self.rows.resize(GROUP_ROWS * bytes, 0);
        if count == blocks {
            source.read_at(group_begin, &mut self.rows)?;
        } else {
            let skipped = (first * weights_type.block_bytes()) as u64;
            for (row, place) in (0u64..).zip(self.rows.chunks_exact_mut(bytes)) {
                source.read_at(group_begin + row * row_bytes + skipped, place)?;
            }
        }
        self.tiles.resize(count * weights_type.tile_bytes(), 0);
        for (lane, row) in self.rows.chunks_exact(bytes).enumerate() {
            weights_type.store_row(&mut self.tiles, lane, row);
        }
        Ok(())
    }
}

impl<S: ReadAt> ReadAt for Arranged<S> {
    fn size(&self) -> u64 {
        self.header.len() as u64 + (self.source.size() - self.data_start)
    }

    fn read_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        let held = usize::try_from(offset).ok().and_then(|start| self.header.get(start..));
        if let Some(header) = held {
            let (head, tail) = buffer.split_at_mut(header.len().min(buffer.len()));
            head.copy_from_slice(&header[..head.len()]);
            offset += head.len() as u64;
            buffer = tail;
        }
        while !buffer.is_empty() {
            let at = (offset - self.header.len() as u64).saturating_add(self.data_start);
            let length = self.read_some(at, buffer)?;
            offset += length as u64;
            buffer = &mut buffer[length..];
        }
        Ok(())
    }
}
