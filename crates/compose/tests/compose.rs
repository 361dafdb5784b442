//! Composing.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use support::*;
use trefoil_compose::{
    Component, ComposeError, PackOptions, Parts, Record, Role, compose, configuration,
};

#[test]
fn a_composition_imports_nothing_of_the_contract_and_exports_what_the_app_exports() {
    let folder = Folder::new();
    let out = folder.path("out.wasm");
    compose(&folder.parts(), &out, &mut ()).unwrap();
    validate(&fs::read(&out).unwrap());
    let (imports, exports) = externs(&out);
    assert_eq!(imports, ["test:app/host"]);
    assert_eq!(exports, ["test:app/greet"]);
}

#[test]
fn without_an_app_the_composition_exports_inference() {
    let folder = Folder::new();
    let out = folder.path("out.wasm");
    compose(&Parts { app: None, ..folder.parts() }, &out, &mut ()).unwrap();
    validate(&fs::read(&out).unwrap());
    let (imports, exports) = externs(&out);
    assert_eq!(imports, Vec::<String>::new());
    let expected = ["types", "inference", "worker"].map(|name| format!("trefoil:llm/{name}@0.1.0"));
    assert_eq!(exports, expected);
}

#[test]
fn without_a_collective_the_host_is_asked_for_one() {
    let folder = Folder::new();
    let out = folder.path("out.wasm");
    compose(&Parts { collective: None, ..folder.parts() }, &out, &mut ()).unwrap();
    validate(&fs::read(&out).unwrap());
    assert!(externs(&out).0.contains(&"trefoil:llm/collective@0.1.0".into()));
}

#[test]
fn an_app_may_export_functions_with_the_contracts_types() {
    let text = "
        package test:app;
        interface talk {
            use trefoil:llm/inference@0.1.0.{conversation, generation};
            use trefoil:llm/types@0.1.0.{error};
            say: func(conversation: conversation) -> result<generation, error>;
        }
        world app { import trefoil:llm/inference@0.1.0; export talk; }";
    let folder = Folder::new();
    let out = folder.path("out.wasm");
    let app = Some(component(stub(Some(text), "app"), "talker"));
    compose(&Parts { app, ..folder.parts() }, &out, &mut ()).unwrap();
    validate(&fs::read(&out).unwrap());
    assert!(externs(&out).1.contains(&"test:app/talk".into()));
}

#[test]
fn the_same_parts_give_the_same_bytes() {
    let folder = Folder::new();
    let (a, b) = (folder.path("a.wasm"), folder.path("b.wasm"));
    compose(&folder.parts(), &a, &mut ()).unwrap();
    compose(&folder.parts(), &b, &mut ()).unwrap();
    assert!(fs::read(a).unwrap() == fs::read(b).unwrap());
}

/// The reference is wac-graph on whole components, which holds all of them in memory.
#[test]
fn composing_skeletons_gives_the_bytes_of_composing_whole_components() {
    use wac_graph::{CompositionGraph, EncodeOptions, NodeId, types::Package};
    let folder = Folder::new();
    let out = folder.path("out.wasm");
    let parts = folder.parts();
    let record = compose(&parts, &out, &mut ()).unwrap();
    let bytes = fs::read(&out).unwrap();

    let mut graph = CompositionGraph::new();
    let mut nodes: Vec<(Vec<String>, NodeId)> = Vec::new();
    let mut last = None;
    let one_model = Role::ALL.into_iter().filter(|role| *role != Role::Router);
    for role in one_model {
        let part = record.part(role).unwrap();
        let range = part.offset as usize..(part.offset + part.length) as usize;
        let package = Package::from_bytes(role.name(), None, &bytes[range], graph.types_mut());
        let id = graph.register_package(package.unwrap()).unwrap();
        let node = graph.instantiate(id);
        let world = &graph.types()[graph[id].ty()];
        let exports: Vec<String> = world.exports.keys().cloned().collect();
        let imports: Vec<String> = world.imports.keys().cloned().collect();
        for import in imports {
            let Some((_, from)) = nodes.iter().find(|(exports, _)| exports.contains(&import))
            else {
                continue;
            };
            let alias = graph.alias_instance_export(*from, &import).unwrap();
            graph.set_instantiation_argument(node, &import, alias).unwrap();
        }
        last = Some(node);
        nodes.push((exports, node));
    }
    let alias = graph.alias_instance_export(last.unwrap(), "test:app/greet").unwrap();
    graph.export(alias, "test:app/greet").unwrap();
    let whole = graph.encode(EncodeOptions::default()).unwrap();
    assert!(bytes.len() > whole.len(), "the record follows");
    assert!(bytes[..whole.len()] == whole);
}

#[test]
fn the_record_names_ranges_and_digests_of_the_parts() {
    use sha2::{Digest, Sha256};
    let folder = Folder::new();
    let out = folder.path("out.wasm");
    let parts = folder.parts();
    let record = compose(&parts, &out, &mut ()).unwrap();
    assert_eq!(Record::read(&out).unwrap(), record);
    let bytes = fs::read(&out).unwrap();
    let roles: Vec<_> = record.parts.iter().map(|part| part.role).collect();
    let one_model = Role::ALL.into_iter().filter(|role| *role != Role::Router);
    assert!(roles.iter().copied().eq(one_model), "{roles:?}");
    for part in &record.parts {
        let bytes = &bytes[part.offset as usize..(part.offset + part.length) as usize];
        validate(bytes);
        let digest: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(part.sha256, digest);
    }
    let model = record.part(Role::Model).unwrap();
    assert_eq!(model.name, "tiny");
    let packed = fs::read(folder.path("m.wasm")).unwrap();
    assert!(bytes[model.offset as usize..][..packed.len()] == packed);
}

#[test]
fn a_model_can_be_composed_without_being_packed_first() {
    let folder = Folder::new();
    let (a, b) = (folder.path("a.wasm"), folder.path("b.wasm"));
    let parts = folder.parts();
    compose(&parts, &a, &mut ()).unwrap();
    let model =
        trefoil_compose::Model::from_gguf(&folder.path("m.gguf"), &PackOptions::default(), &mut ())
            .unwrap();
    compose(&Parts { model: Some(model.models()), ..parts }, &b, &mut ()).unwrap();
    assert!(fs::read(a).unwrap() == fs::read(b).unwrap());
}

#[test]
fn a_part_in_the_wrong_place_is_named() {
    let folder = Folder::new();
    let out = folder.path("out.wasm");
    let parts = Parts { engine: folder.model(), ..folder.parts() };
    let error = compose(&parts, &out, &mut ()).unwrap_err().to_string();
    assert!(error.starts_with("the file given as --engine, `"), "{error}");
    assert!(
        error.ends_with(
            "is a model component: it exports `trefoil:llm/model`; an engine exports \
             `trefoil:llm/inference`"
        ),
        "{error}"
    );
    let parts = Parts { app: Some(engine()), ..folder.parts() };
    let error = compose(&parts, &out, &mut ()).unwrap_err();
    assert!(matches!(error, ComposeError::WrongKind { .. }), "{error}");
    assert!(!out.exists());
}

#[test]
fn a_core_module_is_refused_with_advice() {
    let folder = Folder::new();
    let path = folder.file("core.wasm", b"\0asm\x01\0\0\0");
    let error = Component::from_path(&path).unwrap_err().to_string();
    assert!(error.contains("is a core module, not a component: componentize it with"), "{error}");
    let path = folder.file("text.wasm", b"hello world");
    let error = Component::from_path(&path).unwrap_err().to_string();
    assert!(error.contains("is not a WebAssembly file"), "{error}");
}

#[test]
fn versions_that_do_not_fit_are_both_named() {
    let text = "
        package trefoil:llm@0.2.0;
        interface inference { models: func(); }
        interface greet { hello: func(); }
        world app-of-tomorrow { import inference; export greet; }";
    let folder = Folder::new();
    let app = Some(component(stub(Some(text), "app-of-tomorrow"), "future"));
    let error = compose(&Parts { app, ..folder.parts() }, &folder.path("out.wasm"), &mut ());
    assert_eq!(
        error.unwrap_err().to_string(),
        "the app `future` imports `trefoil:llm/inference@0.2.0`; the engine `cpu` exports 0.1.0: \
         build one of them against the other's version"
    );
}

#[test]
fn an_interface_of_another_form_is_explained() {
    let text = "
        package trefoil:llm@0.1.1;
        interface inference { models: func() -> u32; }
        interface greet { hello: func(); }
        world app { import inference; export greet; }";
    let folder = Folder::new();
    let app = Some(component(stub(Some(text), "trefoil:llm/app@0.1.1"), "odd"));
    let error = compose(&Parts { app, ..folder.parts() }, &folder.path("out.wasm"), &mut ());
    let error = error.unwrap_err();
    assert!(matches!(error, ComposeError::Mismatch { .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains("the app `odd` imports `trefoil:llm/inference@0.1.1`"), "{error}");
    assert!(error.contains("mismatched type for export `models`"), "{error}");
}

#[test]
fn an_import_that_nothing_provides_is_named_with_its_part() {
    let text = "
        package trefoil:llm@0.1.1;
        interface telepathy { think: func(); }
        world engine { import telepathy; export trefoil:llm/inference@0.1.0; }";
    let folder = Folder::new();
    let engine = component(stub(Some(text), "trefoil:llm/engine@0.1.1"), "odd");
    let parts = Parts { engine, ..folder.parts() };
    let error = compose(&parts, &folder.path("out.wasm"), &mut ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the engine `odd` imports `trefoil:llm/telepathy@0.1.1`; no part exports it"
    );
}

#[test]
fn a_part_changed_while_it_is_composed_leaves_nothing_behind() {
    let folder = Folder::new();
    let parts = folder.parts();
    let before = folder.names();
    fs::OpenOptions::new().write(true).open(folder.path("m.wasm")).unwrap().set_len(1000).unwrap();
    let error = compose(&parts, &folder.path("out.wasm"), &mut ()).unwrap_err();
    assert!(error.to_string().contains("changed meanwhile"), "{error}");
    assert_eq!(folder.names(), before);
}

#[test]
fn a_missing_folder_is_named_by_the_users_path() {
    let folder = Folder::new();
    let out = folder.path("nowhere/out.wasm");
    let error = compose(&folder.parts(), &out, &mut ()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot write `{}`: ", out.display())), "{error}");
}

#[test]
fn segments_that_look_like_placeholders_are_copied_like_all_others() {
    // A user's model whose data holds this crate's own placeholder text.
    let mut bytes = stub(None, "model-component");
    let forged = wasm_encoder::CustomSection {
        name: "data".into(),
        data: b"trefoil-bulk-v1:\0\0\0\0"[..].into(),
    };
    bytes.push(0);
    wasm_encoder::Encode::encode(&forged, &mut bytes);
    let mut module = wasm_encoder::Module::new();
    let mut data = wasm_encoder::DataSection::new();
    data.passive(*b"trefoil-bulk-v1:\0\0\0\0");
    data.passive(vec![7; 10_000]);
    module.section(&data);
    wasm_encoder::Encode::encode(&wasm_encoder::RawSection { id: 1, data: module.as_slice() }, {
        bytes.push(1);
        &mut bytes
    });
    let folder = Folder::new();
    let out = folder.path("out.wasm");
    let model = component(bytes.clone(), "forged");
    let record =
        compose(&Parts { model: Some(model.into()), ..folder.parts() }, &out, &mut ()).unwrap();
    let model = record.part(Role::Model).unwrap();
    assert!(fs::read(&out).unwrap()[model.offset as usize..][..model.length as usize] == bytes);
}

#[test]
fn an_empty_configuration_is_a_configuration() {
    let configuration = configuration(&[]).unwrap();
    assert_eq!(configuration.exports(), ["trefoil:llm/configuration@0.1.0"]);
}
