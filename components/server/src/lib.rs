//! The app `server`: answers HTTP requests as OpenAI's API does, through `wasi:http` and the model
//! beside it. A host runs one request at a time in an instance; models stay loaded for the next one,
//! where the host keeps the instance. What requests and answers mean is `trefoil-openai`'s.

#![allow(missing_docs)] // Generated bindings.

mod bindings {
    wit_bindgen::generate!({
        path: ["../../wit", "wit"],
        world: "trefoil:server/server",
        generate_all,
    });
}
mod client;
mod convert;
mod loaded;

use std::cell::RefCell;

use bindings::exports::wasi::http::incoming_handler::{Guest, IncomingRequest, ResponseOutparam};
use bindings::wasi::clocks::wall_clock;
use bindings::wasi::http::types::Method;
use bindings::wasi::random::random::get_random_u64;
use trefoil_openai::{Incoming, Stamp};

use client::{Body, Outgoing};
use loaded::Loaded;

thread_local! {
    /// What earlier requests have loaded.
    static LOADED: RefCell<Option<Loaded>> = const { RefCell::new(None) };
}

struct Component;

impl Guest for Component {
    fn handle(request: IncomingRequest, response: ResponseOutparam) {
        let created_s = wall_clock::now().seconds;
        let random = u128::from(get_random_u64()) << 64 | u128::from(get_random_u64());
        let method = name(request.method());
        let path = request.path_with_query().unwrap_or_else(|| "/".into());
        let length = request.headers().get("content-length").into_iter().next();
        let content_length = length.and_then(|value| String::from_utf8(value).ok()?.parse().ok());
        let mut body = Body::of(&request);
        let incoming = Incoming { method: &method, path: &path, content_length, body: &mut body };
        let mut client = Outgoing::new(response, method == "HEAD");
        LOADED.with_borrow_mut(|loaded| {
            let loaded = loaded.get_or_insert_with(|| Loaded::new(created_s));
            let stamp = Stamp { random, created_s };
            // Who has left is told nothing; what was computed for it has been dropped.
            if trefoil_openai::answer(incoming, loaded, stamp, &mut client).is_ok() {
                client.finish();
            }
        });
    }
}

fn name(method: Method) -> String {
    let name = match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(name) => return name,
    };
    name.into()
}

bindings::export!(Component with_types_in bindings);
