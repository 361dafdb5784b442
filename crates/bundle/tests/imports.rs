//! What the components that come with Trefoil import: the invariant that keeps what an app is
//! granted away from the code that reads untrusted models.

use trefoil_bundle::{CHAT, ENGINE_CPU, ENGINE_CPU_RELAXED, MODEL_FILE, MODEL_HTTP, SERVER, SOLO};
use trefoil_compose::Component;

fn component(bytes: &[u8]) -> Component {
    Component::from_bytes(bytes.to_vec(), "bundled").expect("a bundled component is readable")
}

fn sorted(names: &[String]) -> Vec<&str> {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn engines_import_nothing_but_model_configuration_and_collective() {
    for engine in [ENGINE_CPU, ENGINE_CPU_RELAXED] {
        let engine = component(engine);
        // `types` holds types only: nothing of it can be called.
        let expected = [
            "trefoil:llm/collective@0.1.0",
            "trefoil:llm/configuration@0.1.0",
            "trefoil:llm/model@0.1.0",
            "trefoil:llm/types@0.1.0",
        ];
        assert_eq!(sorted(engine.imports()), expected);
        let exports = ["trefoil:llm/inference@0.1.0", "trefoil:llm/worker@0.1.0"];
        assert_eq!(sorted(engine.exports()), exports);
    }
}

#[test]
fn the_file_model_imports_the_file_system_alone() {
    let model = component(MODEL_FILE);
    for import in sorted(model.imports()) {
        assert!(
            import.starts_with("wasi:filesystem/")
                || import == "trefoil:llm/types@0.1.0"
                // Its one type is part of a file's status.
                || import.starts_with("wasi:clocks/wall-clock@"),
            "{import}"
        );
    }
}

#[test]
fn the_http_model_imports_requests_alone() {
    let model = component(MODEL_HTTP);
    let expected = [
        "trefoil:llm/types@0.1.0",
        // For the pauses between attempts.
        "wasi:clocks/monotonic-clock@0.2.0",
        "wasi:http/outgoing-handler@0.2.0",
        "wasi:http/types@0.2.0",
        "wasi:io/error@0.2.0",
        "wasi:io/poll@0.2.0",
        "wasi:io/streams@0.2.0",
    ];
    assert_eq!(sorted(model.imports()), expected);
    assert_eq!(sorted(model.exports()), ["trefoil:llm/model@0.1.0"]);
}

#[test]
fn solo_imports_nothing_that_can_be_called() {
    assert_eq!(sorted(component(SOLO).imports()), ["trefoil:llm/types@0.1.0"]);
}

#[test]
fn chat_has_no_file_system_to_read_and_no_network() {
    let chat = component(CHAT);
    let imports = sorted(chat.imports());
    assert!(imports.contains(&"trefoil:llm/inference@0.1.0"), "{imports:?}");
    for import in imports {
        assert!(
            !import.starts_with("wasi:sockets/") && !import.starts_with("wasi:http/"),
            "{import}"
        );
    }
}

#[test]
fn the_server_imports_its_model_and_what_every_http_host_has() {
    let server = component(SERVER);
    let expected = [
        "trefoil:llm/inference@0.1.0",
        "trefoil:llm/types@0.1.0",
        // Answers have a date and a name of their own.
        "wasi:clocks/wall-clock@0.2.0",
        "wasi:http/types@0.2.0",
        "wasi:io/error@0.2.0",
        "wasi:io/streams@0.2.0",
        "wasi:random/random@0.2.0",
    ];
    assert_eq!(sorted(server.imports()), expected);
    assert_eq!(sorted(server.exports()), ["wasi:http/incoming-handler@0.2.0"]);
}

#[test]
fn components_name_no_path_of_the_machine_that_built_them() {
    let home = std::env::home_dir().map(|home| home.to_string_lossy().into_owned());
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let root = std::fs::canonicalize(root).expect("the workspace exists");
    let mut paths = vec![root.to_string_lossy().into_owned()];
    paths.extend(home.filter(|home| home.len() > 1));
    for bytes in [CHAT, ENGINE_CPU, ENGINE_CPU_RELAXED, MODEL_FILE, MODEL_HTTP, SERVER, SOLO] {
        for path in &paths {
            let found = bytes.windows(path.len()).any(|window| window == path.as_bytes());
            assert!(!found, "a component contains `{path}`");
        }
    }
}
