//! Disks without room.

mod support;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use support::{Place, Told, WebServer, content, failed};
use trefoil_hub::{Digest, Disk};

const SIZE: usize = 900_000;

/// A disk that takes so many bytes, and says that it has so much room.
struct SmallDisk {
    takes: AtomicU64,
    says: Option<u64>,
}

impl Disk for SmallDisk {
    fn free_bytes(&self, _: &Path) -> io::Result<Option<u64>> {
        Ok(self.says)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        let left = self.takes.load(Ordering::SeqCst);
        let count = bytes.len().min(usize::try_from(left).expect("is small"));
        file.write_all(&bytes[..count])?;
        self.takes.store(left - count as u64, Ordering::SeqCst);
        if count < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

fn place(server: &WebServer, takes: u64, says: Option<u64>) -> Place {
    let mut place = Place::new(server);
    place.hub.disk = Arc::new(SmallDisk { takes: takes.into(), says });
    place
}

#[test]
fn a_file_that_does_not_fit_is_not_begun() {
    let server = WebServer::new(|asked| asked.file(&content(SIZE), "a"));
    let place = place(&server, u64::MAX, Some(1000));
    let pieces = ["no room on the disk for", "m.gguf`: 900000 bytes are to come, 1000 are free"];
    failed(place.pull(&server.url("/m.gguf")), &pieces);
    assert!(!place.files().iter().any(|file| file.ends_with(".gguf")));
}

#[test]
fn a_disk_that_fills_up_leaves_what_can_be_continued() {
    let server = WebServer::new(|asked| asked.file(&content(SIZE), "a"));
    let mut place = place(&server, 500_000, None);
    failed(place.pull(&server.url("/m.gguf")), &["no room on the disk", "`TREFOIL_CACHE`"]);
    let partial = place.files().into_iter().find(|file| file.ends_with(".partial"));
    let partial = place.folder.path().join(partial.expect("is there"));
    let there = partial.metadata().expect("is there").len();
    assert_eq!(there, 500_000, "what fitted is kept");

    place.hub.disk = Arc::new(trefoil_hub::RealDisk);
    let mut told = Told::default();
    let pulled = place.pull_told(&server.url("/m.gguf"), &mut told).expect("works");
    assert_eq!(told.words, [format!("begin m.gguf at {there}")]);
    assert_eq!(pulled.received, SIZE as u64 - there);
    assert_eq!(pulled.files[0].sha256, Digest::of(&content(SIZE)));
}
