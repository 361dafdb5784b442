//! Allocations that may fail.

use trefoil_contract::{Error, Result};

/// A vector of `length` default values. `purpose` says what for and what would need less.
///
/// # Errors
/// `out-of-memory`.
pub(crate) fn zeros<T: Clone + Default>(length: usize, purpose: &str) -> Result<Vec<T>> {
    let mut vector = Vec::new();
    resize(&mut vector, length, purpose)?;
    Ok(vector)
}

/// Makes `vector` exactly `length` long. What it held stays as far as it fits: callers overwrite
/// all of it.
///
/// # Errors
/// `out-of-memory`.
pub(crate) fn resize<T: Clone + Default>(
    vector: &mut Vec<T>,
    length: usize,
    purpose: &str,
) -> Result<()> {
    let more = length.saturating_sub(vector.len());
    vector.try_reserve_exact(more).map_err(|_| Error::OutOfMemory {
        needed_bytes: (length as u64).saturating_mul(size_of::<T>() as u64),
        purpose: purpose.to_owned(),
    })?;
    vector.resize(length, T::default());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_bytes_and_cure_where_memory_does_not_suffice() {
        let length = usize::MAX / 4;
        let error = Error::OutOfMemory {
            needed_bytes: length as u64 * 4,
            purpose: "everything; ask for less".to_owned(),
        };
        assert_eq!(zeros::<f32>(length, "everything; ask for less"), Err(error));
    }
}
