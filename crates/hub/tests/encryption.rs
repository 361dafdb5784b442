//! Servers with encryption.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use support::{Place, WebServer, content, failed};
use trefoil_fixtures::Reply;
use trefoil_hub::Digest;

const SIZE: usize = 100_000;

/// A server that answers every request with the same bytes. Returns its port and certificate.
fn encrypted(answer: Vec<u8>) -> (u16, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("makes one");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("are known")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("fits");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("has one").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(config.clone()).expect("is configured");
            let mut stream = StreamOwned::new(connection, stream);
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                request.push(byte[0]);
            }
            let _ = stream.write_all(&answer);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    (port, made.cert.pem())
}

fn response(head: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes =
        format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
            .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn certificates_are_checked() {
    let plain = WebServer::new(|_| Reply::new(404, ""));
    let (port, certificate) = encrypted(response("200 OK", &content(SIZE)));
    let url = format!("https://localhost:{port}/m.gguf");
    let mut place = Place::new(&plain);
    failed(place.pull(&url), &["cannot talk to `localhost`", "ertificate"]);

    let file = place.folder.path().join("authorities.pem");
    std::fs::write(&file, certificate).expect("writes");
    place.hub.authorities = Some(file.clone());
    let pulled = place.pull(&url).expect("works");
    assert_eq!(pulled.files[0].sha256, Digest::of(&content(SIZE)));
    // The certificate is another host's.
    let other = format!("https://127.0.0.1:{port}/m.gguf");
    failed(place.pull(&other), &["cannot talk to `127.0.0.1`"]);

    for text in ["", "-----BEGIN CERTIFICATE-----\n", "x"] {
        std::fs::write(&file, text).expect("writes");
        failed(place.pull(&other), &["the certificates of `SSL_CERT_FILE`", "authorities.pem"]);
    }
}

#[test]
fn a_redirect_away_from_encryption_is_not_followed() {
    let plain = WebServer::new(|asked| asked.file(&content(SIZE), "a"));
    let redirect = format!("302 Found\r\nLocation: {}", plain.url("/m.gguf"));
    let (port, certificate) = encrypted(response(&redirect, b""));
    let mut place = Place::new(&plain);
    let file = place.folder.path().join("authorities.pem");
    std::fs::write(&file, certificate).expect("writes");
    place.hub.authorities = Some(file);
    // Neither for this machine, nor where plain addresses are allowed.
    for allow_http in [false, true] {
        place.hub.allow_http = allow_http;
        let result = place.pull(&format!("https://localhost:{port}/m.gguf"));
        failed(result, &["redirects from https to `http://127.0.0.1", "not followed"]);
    }
    assert!(plain.log().is_empty());
}
