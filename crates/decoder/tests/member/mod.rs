//! One of several instances that meet in a test.

use std::sync::Arc;

use trefoil_contract::{Error, Result};
use trefoil_decoder::Exchange;
use trefoil_fixtures::Meeting;

pub(crate) struct Member {
    pub(crate) meeting: Arc<Meeting>,
    pub(crate) rank: usize,
}

impl Exchange for Member {
    fn rank(&self) -> usize {
        self.rank
    }
    fn size(&self) -> usize {
        self.meeting.size()
    }
    fn all_gather(&self, part: &[u8]) -> Result<Vec<u8>> {
        let left = || Error::Other { code: "instance".into(), message: "left".into() };
        self.meeting.all_gather(self.rank, part).ok_or_else(left)
    }
    fn gather(&self, part: &[u8]) -> Result<Vec<u8>> {
        let all = self.all_gather(part)?;
        Ok(if self.rank == 0 { all } else { Vec::new() })
    }
}
