use crate::read_at::ReadAt;

/// What the GGUF reader reads from.
pub(crate) struct GgufSource<'a, S: ReadAt + ?Sized>(pub(crate) &'a S);

impl<S: ReadAt + ?Sized> trefoil_gguf::Source for GgufSource<'_, S> {
    fn size(&self) -> u64 {
        self.0.size()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), String> {
        self.0.read_at(offset, buffer).map_err(|error| error.to_string())
    }
}
