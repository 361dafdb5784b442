//! The engine's imports as the engine crate sees them.

use trefoil_contract::{Error, Part, Result, Setting};

use crate::bindings::trefoil::llm::{collective, configuration, model};

pub(crate) struct Imports;

impl trefoil_engine::Imports for Imports {
    fn parts(&self) -> Result<Vec<Part>> {
        let parts = model::parts().map_err(Error::from)?;
        Ok(parts.into_iter().map(Into::into).collect())
    }

    fn read(&self, part: u32, offset: u64, length: u32) -> Result<Vec<u64>> {
        model::read(part, offset, length).map_err(Error::from)
    }

    fn configure(&self, parts: &[Part]) -> Result<Vec<Setting>, String> {
        let parts: Vec<_> = parts.iter().cloned().map(Into::into).collect();
        let settings = configuration::configure(&parts)?;
        Ok(settings.into_iter().map(Into::into).collect())
    }

    fn collective_rank(&self) -> u32 {
        collective::rank()
    }

    fn collective_size(&self) -> u32 {
        collective::size()
    }

    fn broadcast(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        collective::broadcast(bytes).map_err(Error::from)
    }

    fn all_gather(&self, part: &[u8]) -> Result<Vec<u8>> {
        collective::all_gather(part).map_err(Error::from)
    }

    fn gather(&self, part: &[u8]) -> Result<Vec<u8>> {
        collective::gather(part).map_err(Error::from)
    }
}
