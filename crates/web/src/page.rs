//! The page, built from `web/` by `build.rs`.

include!(concat!(env!("OUT_DIR"), "/page.rs"));
