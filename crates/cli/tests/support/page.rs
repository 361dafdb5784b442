//! The scripts of `web/test`, which Node.js runs.

#![allow(dead_code, unreachable_pub)]

use std::process::Command;

use super::needed;

/// A script with the Node.js of the tests; the browsers are those of the environment.
pub fn script(name: &str) -> Command {
    let packages = needed("TREFOIL_NODE_PACKAGES");
    let mut node = Command::new(format!("{packages}/node_modules/.bin/node"));
    node.arg(format!("{}/../../web/test/{name}", env!("CARGO_MANIFEST_DIR")));
    node.env("TREFOIL_CHROMIUM", needed("TREFOIL_CHROMIUM"));
    if cfg!(feature = "exhaustive") {
        node.env("TREFOIL_FIREFOX", needed("TREFOIL_FIREFOX"));
    }
    node
}
