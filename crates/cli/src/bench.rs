//! What `trefoil bench` measures and how it is shown.

pub(crate) mod machine;
pub(crate) mod report;
pub(crate) mod speed;
pub(crate) mod test;
