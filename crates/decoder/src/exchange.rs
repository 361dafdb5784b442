//! What instances of one model say to each other.

use trefoil_contract::{Error, Result};

/// Longest text of an error that one instance tells another, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// Exchange between the instances that compute one model together. All make the same calls in the
/// same order; a call returns when all have made it.
///
/// # Errors
/// Of every method: an instance has failed or left. All further calls fail as well then.
pub trait Exchange {
    /// The number of this instance.
    fn rank(&self) -> usize;

    /// The number of instances, at least 1.
    fn size(&self) -> usize;

    /// The bytes of all instances, in the order of their ranks.
    fn all_gather(&self, part: &[u8]) -> Result<Vec<u8>>;

    /// The same, but only rank 0 gets them; the others get nothing.
    fn gather(&self, part: &[u8]) -> Result<Vec<u8>>;
}

/// The exchange of an instance without others: there is none.
#[derive(Debug, Clone, Copy)]
pub enum Alone {}

impl Exchange for Alone {
    fn rank(&self) -> usize {
        match *self {}
    }

    fn size(&self) -> usize {
        match *self {}
    }

    fn all_gather(&self, _: &[u8]) -> Result<Vec<u8>> {
        match *self {}
    }

    fn gather(&self, _: &[u8]) -> Result<Vec<u8>> {
        match *self {}
    }
}

/// Ends something that all instances have tried: it has succeeded only where all succeeded.
///
/// # Errors
/// The own one; else that of another instance, with its rank; else that of the exchange.
pub fn agree<T>(exchange: &dyn Exchange, result: Result<T>) -> Result<T> {
    let said = match &result {
        Ok(_) => Vec::new(),
        Err(error) => encode(exchange.rank(), error),
    };
    let heard = exchange.all_gather(&said);
    let value = result?;
    match heard? {
        heard if heard.is_empty() => Ok(value),
        heard => Err(decode(&heard)),
    }
}

/// Rank, bytes that were needed where memory did not suffice, text.
fn encode(rank: usize, error: &Error) -> Vec<u8> {
    let (needed_bytes, text) = match error {
        Error::OutOfMemory { needed_bytes, purpose } => (*needed_bytes, purpose.clone()),
        error => (0, error.to_string()),
    };
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    let mut bytes = (rank as u32).to_le_bytes().to_vec();
    bytes.extend(needed_bytes.to_le_bytes());
    bytes.extend((end as u32).to_le_bytes());
    bytes.extend(&text.as_bytes()[..end]);
    bytes
}

/// The first of the errors.
fn decode(bytes: &[u8]) -> Error {
    let parsed = || {
        let (rank, rest) = bytes.split_first_chunk()?;
        let (needed_bytes, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let text = rest.get(..u32::from_le_bytes(*length) as usize)?;
        let text = String::from_utf8_lossy(text).into_owned();
        Some((u32::from_le_bytes(*rank), u64::from_le_bytes(*needed_bytes), text))
    };
    match parsed() {
        // Memory that does not suffice is no fault: with less to do the next try may succeed.
        Some((_, needed_bytes, purpose)) if needed_bytes > 0 => {
            Error::OutOfMemory { needed_bytes, purpose }
        }
        Some((rank, _, text)) => failure(format_args!("instance {rank} failed: {text}")),
        None => out_of_step(),
    }
}

/// Instances that have made different calls, or calls with other lengths than agreed.
pub(crate) fn out_of_step() -> Error {
    failure("the instances are out of step; this is a defect of the engine")
}

fn failure(message: impl ToString) -> Error {
    Error::Other { code: "instance".into(), message: message.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_other_instances_keep_their_words() {
        let memory = Error::OutOfMemory { needed_bytes: 1 << 40, purpose: "the cache".into() };
        assert_eq!(decode(&encode(3, &memory)), memory);
        let mut two = encode(2, &Error::Io("no disk".into()));
        two.extend(encode(3, &memory));
        let text = decode(&two).to_string();
        assert_eq!(text, "instance 2 failed: the weights could not be read: no disk (instance)");
        let long = Error::Io("ä".repeat(TEXT_BYTES_MAX));
        assert!(encode(0, &long).len() <= TEXT_BYTES_MAX + 16);
    }

    #[test]
    fn nonsense_is_an_error_too() {
        for bytes in [&[1u8][..], &[0; 15], &[255; 20]] {
            assert!(matches!(decode(bytes), Error::Other { .. } | Error::OutOfMemory { .. }));
        }
        assert_eq!(decode(&[1, 2, 3]), out_of_step());
    }
}
