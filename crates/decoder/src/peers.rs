//! The instances that compute a model together, seen from one of them.

use std::ops::Range;

use trefoil_contract::Result;

use crate::exchange::{Exchange, agree, out_of_step};
use crate::partition::Cut;

/// Bytes that one exchange brings at most, unless a single row has more: so much stays in the
/// processor's cache between being written and read, and lists in the instances' memories stay
/// small.
const PIECE_BYTES: usize = 256 << 10;

/// What this instance exchanges with the others. Without others none of it costs anything.
///
/// Matrices of intermediate results are `[tokens][width]`, and each instance computes a range of
/// every row. It does so in a matrix of just these ranges, at the front of the memory of the whole.
pub(crate) struct Peers<E> {
    exchange: Option<E>,
    /// What is sent, kept for its memory.
    bytes: Vec<u8>,
}

impl<E: Exchange> Peers<E> {
    /// With one instance, or no exchange, the calls of an exchange would only copy.
    pub(crate) fn new(exchange: Option<E>) -> Peers<E> {
        let exchange = exchange.filter(|exchange| exchange.size() > 1);
        Peers { exchange, bytes: Vec::new() }
    }

    /// The number of this instance, and that of all.
    pub(crate) fn rank_and_size(&self) -> (usize, usize) {
        self.exchange.as_ref().map_or((0, 1), |exchange| (exchange.rank(), exchange.size()))
    }

    /// Ends something that all instances have tried.
    ///
    /// # Errors
    /// See [`agree`].
    pub(crate) fn agree(&self, result: Result<()>) -> Result<()> {
        match &self.exchange {
            Some(exchange) => agree(exchange, result),
            None => result,
        }
    }

    /// Completes `whole`, whose own ranges `compute` gives.
    ///
    /// # Errors
    /// Those of `compute`, on any instance, and of the exchange.
    pub(crate) fn all_gather(
        &mut self,
        cut: &Cut,
        whole: &mut [f32],
        compute: impl FnOnce(&mut [f32]) -> Result<()>,
    ) -> Result<()> {
        let Some(exchange) = &self.exchange else { return compute(whole) };
        let (width, own) = (cut.length(), cut.own());
        let own_length = whole.len() / width * own.len();
        let computed = compute(&mut whole[..own_length]);
        if computed.is_err() {
            // Shorter than agreed, which tells the others.
            exchange.all_gather(&[])?;
            return agree(exchange, computed);
        }
        spread(cut, whole);
        for piece in whole.chunks_mut(piece_rows(width) * width) {
            self.bytes.clear();
            piece.chunks_exact(width).for_each(|row| put(&row[own.clone()], &mut self.bytes));
            let all = exchange.all_gather(&self.bytes)?;
            if all.len() != size_of_val(piece) {
                agree(exchange, Ok(()))?;
                return Err(out_of_step());
            }
            take(&all, cut.ranges(), piece, width);
        }
        Ok(())
    }

    /// Completes `whole`, whose own ranges `compute` gives, at rank 0 alone; elsewhere it is
    /// scratch.
    ///
    /// # Errors
    /// Those of the exchange.
    pub(crate) fn gather(
        &mut self,
        cut: &Cut,
        whole: &mut [f32],
        compute: impl FnOnce(&mut [f32]),
    ) -> Result<()> {
        let Some(exchange) = &self.exchange else {
            compute(whole);
            return Ok(());
        };
        let (width, own_width) = (cut.length(), cut.own().len());
        let own_length = whole.len() / width * own_width;
        compute(&mut whole[..own_length]);
        if exchange.rank() > 0 {
            // Sent in as many pieces as rank 0 receives.
            for first in (0..whole.len() / width).step_by(piece_rows(width)) {
                let end = own_length.min((first + piece_rows(width)) * own_width);
                self.bytes.clear();
                put(&whole[first * own_width..end], &mut self.bytes);
                exchange.gather(&self.bytes)?;
            }
            return Ok(());
        }
        spread(cut, whole);
        for piece in whole.chunks_mut(piece_rows(width) * width) {
            // What rank 0 has itself it need not send.
            let all = exchange.gather(&[])?;
            let expected = (width - own_width) * (piece.len() / width);
            if all.len() != expected * size_of::<f32>() {
                return Err(out_of_step());
            }
            take(&all, cut.ranges().skip(1), piece, width);
        }
        Ok(())
    }

    /// Gives rank 0 the bytes of the instance `owner`; elsewhere they are scratch.
    ///
    /// # Errors
    /// Those of the exchange.
    pub(crate) fn bytes_of(&self, owner: usize, bytes: &mut Vec<u8>) -> Result<()> {
        match &self.exchange {
            Some(exchange) if owner > 0 => {
                let own = if exchange.rank() == owner { bytes.as_slice() } else { &[] };
                *bytes = exchange.gather(own)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Fills `rows`, of `width` each, with rows of a matrix whose rows are shared: `indices` says
    /// which, `read` gives one by its place in the own range.
    ///
    /// # Errors
    /// Those of the exchange.
    pub(crate) fn rows(
        &mut self,
        cut: &Cut,
        indices: &[u32],
        rows: &mut [f32],
        width: usize,
        read: impl Fn(usize, &mut [f32]),
    ) -> Result<()> {
        let own = cut.own();
        let pieces =
            indices.chunks(piece_rows(width)).zip(rows.chunks_mut(piece_rows(width) * width));
        for (indices, piece) in pieces {
            self.bytes.clear();
            for (index, row) in indices.iter().zip(piece.chunks_exact_mut(width)) {
                let index = *index as usize;
                if own.contains(&index) {
                    read(index - own.start, row);
                    if self.exchange.is_some() {
                        put(row, &mut self.bytes);
                    }
                }
            }
            let Some(exchange) = &self.exchange else { continue };
            let all = exchange.all_gather(&self.bytes)?;
            if all.len() != size_of_val(piece) {
                return Err(out_of_step());
            }
            // Each instance has sent its rows one behind another.
            let owners = indices.iter().map(|index| cut.owner(*index as usize));
            let mut starts = vec![0; exchange.size() + 1];
            owners.clone().for_each(|owner| starts[owner + 1] += 1);
            for rank in 0..exchange.size() {
                starts[rank + 1] += starts[rank];
            }
            for (owner, row) in owners.zip(piece.chunks_exact_mut(width)) {
                get(&all[starts[owner] * size_of_val(row)..], row);
                starts[owner] += 1;
            }
        }
        Ok(())
    }
}

/// Rows of an exchange.
fn piece_rows(width: usize) -> usize {
    (PIECE_BYTES / size_of::<f32>() / width).max(1)
}

/// Moves each row's own range from the front to its place.
fn spread(cut: &Cut, whole: &mut [f32]) {
    let (width, own) = (cut.length(), cut.own());
    // From the last on: what is moved lands behind everything that is still to be moved.
    for row in (0..whole.len() / width).rev() {
        let start = row * own.len();
        whole.copy_within(start..start + own.len(), row * width + own.start);
    }
}

/// Puts what instances have sent into the ranges that they hold.
fn take(all: &[u8], ranges: impl Iterator<Item = Range<usize>>, piece: &mut [f32], width: usize) {
    let mut rest = all;
    for range in ranges {
        for row in piece.chunks_exact_mut(width) {
            let row = &mut row[range.clone()];
            get(rest, row);
            rest = &rest[size_of_val(row)..];
        }
    }
}

fn put(numbers: &[f32], bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.resize(start + size_of_val(numbers), 0);
    for (place, number) in bytes[start..].as_chunks_mut().0.iter_mut().zip(numbers) {
        *place = number.to_le_bytes();
    }
}

fn get(bytes: &[u8], numbers: &mut [f32]) {
    for (number, place) in numbers.iter_mut().zip(bytes.as_chunks().0) {
        *number = f32::from_le_bytes(*place);
    }
}
