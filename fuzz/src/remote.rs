use std::ops::Range;
use std::time::Duration;

use trefoil_remote::{
    Body, Digester, Failure, Head, Manifest, PLACE_BYTES, Reader, Transport, Url, place,
};

const FILE: &[u8] = b"GGUF and so on";

/// What a server answers, and the manifest of a composition. The lines of the text are the fields
/// of an answer's head, then an address; whatever they say, no byte of another file comes out.
pub fn remote(data: &[u8]) {
    let mut place = place();
    let length = data.len().min(PLACE_BYTES - 24);
    place[24..24 + length].copy_from_slice(&data[..length]);
    let _ = Manifest::from_place(&place);

    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let mut line = || lines.next().map(str::to_owned);
    let head = Head {
        status: line().and_then(|line| line.parse().ok()).unwrap_or(206),
        content_range: line(),
        location: line(),
        retry_after: line(),
        content_encoding: line(),
        etag: line(),
    };
    if let Some(Ok(url)) = line().map(|line| Url::parse(&line)) {
        assert_eq!(Url::parse(&url.to_string()).as_ref(), Ok(&url), "an address names itself");
        let _ = url.join(&text);
    }
    let url = Url::parse("https://h/m.gguf").expect("is an address");
    let mut digester = Digester::new(FILE.len() as u64);
    digester.update(FILE);
    let digests = digester.finish().expect("all bytes came");
    let manifest = Manifest { url, name: String::new(), license: String::new(), digests };
    let server = Server { head, body: data.to_vec() };
    if let Ok(bytes) = Reader::new(manifest, server).read(0, 100) {
        assert_eq!(bytes, FILE);
    }
}

struct Server {
    head: Head,
    body: Vec<u8>,
}

struct Bytes(Vec<u8>);

impl Transport for Server {
    type Body = Bytes;

    fn get(&mut self, url: &Url, _: Range<u64>) -> Result<(Head, Bytes), Failure> {
        // An address is one line of a request.
        assert!(!url.to_string().contains(|c: char| c.is_control() || c == ' '), "{url:?}");
        Ok((self.head.clone(), Bytes(self.body.clone())))
    }

    fn pause(&mut self, time: Duration) {
        assert!(time <= Duration::from_secs(30), "{time:?}");
    }
}

impl Body for Bytes {
    fn read(&mut self, length_max: usize) -> Result<Vec<u8>, String> {
        // May be more than was asked for: a host is not trusted to count.
        Ok(self.0.split_off(self.0.len().saturating_sub(length_max + 1)))
    }
}
