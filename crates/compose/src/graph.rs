//! The graph of a composition, built and encoded on skeletons.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wac_graph::types::{Package, are_semver_compatible};
use wac_graph::{CompositionGraph, EncodeError, EncodeOptions, InstantiationArgumentError, NodeId};
use wasmparser::{Validator, WasmFeatures};

use crate::ComponentError;
use crate::compose::{ComposeError, Placed};
use crate::contract::interface_name;
use crate::interface::{Role, contract_name, find};
use crate::router::import_name;
use crate::sections::{WasmError, push_custom};

/// A composition in which each part is its skeleton.
pub(crate) struct Plan {
    pub(crate) stub: Vec<u8>,
    /// As they occur in the stub, one for each part.
    pub(crate) skeletons: Vec<Vec<u8>>,
}

/// How much a composition exports beside what it is for. Types that its exports use must have
/// names outside, which only shows when the result is validated.
#[derive(Clone, Copy)]
enum Beside {
    Nothing,
    Types,
    TypesAndInference,
}

/// Plans a composition of parts that stand in the order of [`Role::ALL`].
pub(crate) fn plan(parts: &[Placed]) -> Result<Plan, ComposeError> {
    let skeletons: Vec<_> =
        parts.iter().enumerate().map(|(index, part)| marked(index, part)).collect();
    let mut wired = Ok(Vec::new());
    for beside in [Beside::Nothing, Beside::Types, Beside::TypesAndInference] {
        // wac-graph has a few panics for types that it does not know yet, which a user's component
        // may use; they must not end the program.
        let attempt = || encode(parts, &skeletons, beside);
        wired = catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|_| {
            Err(ComposeError::Graph("a part uses types that cannot be composed yet".into()))
        });
        let Ok(stub) = &wired else { break };
        let features = WasmFeatures::all();
        match Validator::new_with_features(features).validate_all(stub) {
            Ok(_) => return Ok(Plan { stub: wired?, skeletons }),
            Err(error) => wired = Err(ComposeError::Graph(error.message().into())),
        }
    }
    Err(match wired {
        Err(error) => error,
        Ok(_) => ComposeError::Graph("there are no parts".into()),
    })
}

/// The skeleton with the part's number behind it, so that it can be found again in the stub.
fn marked(index: usize, part: &Placed) -> Vec<u8> {
    let mut skeleton = part.component.skeleton().to_vec();
    push_custom("trefoil:part", &(index as u64).to_le_bytes(), &mut skeleton);
    skeleton
}

fn encode(
    parts: &[Placed],
    skeletons: &[Vec<u8>],
    beside: Beside,
) -> Result<Vec<u8>, ComposeError> {
    let mut graph = CompositionGraph::new();
    let mut nodes: Vec<NodeId> = Vec::new();
    for (index, (part, skeleton)) in parts.iter().zip(skeletons).enumerate() {
        let invalid = |error: &dyn std::fmt::Display| {
            let text = error.to_string();
            // Offsets of the skeleton would mislead.
            let text = text.split(" (at offset").next().unwrap_or_default();
            ComponentError {
                name: part.component.label().into(),
                source: WasmError::Invalid(text.into()),
            }
        };
        let before = parts[..index].iter().filter(|other| other.role == part.role).count();
        let name = match before {
            0 => format!("trefoil:{}", part.role),
            number => format!("trefoil:{}{number}", part.role),
        };
        let package = Package::from_bytes(&name, None, skeleton.clone(), graph.types_mut())
            .map_err(|error| invalid(&error))?;
        let package = graph.register_package(package).map_err(|error| invalid(&error))?;
        let node = graph.instantiate(package);
        nodes.push(node);
        for import in part.component.imports() {
            wire(&mut graph, parts, &nodes, index, import)?;
        }
    }
    export(&mut graph, parts, &nodes, beside)?;
    graph.encode(EncodeOptions { validate: false, ..EncodeOptions::default() }).map_err(|error| {
        match error {
            EncodeError::ImportTypeMergeConflict { import, source, .. } => {
                ComposeError::ImportConflict { import, detail: format!("{source:#}") }
            }
            other => ComposeError::Graph(other.to_string()),
        }
    })
}

/// Satisfies an import by an earlier part, or leaves it open for the host.
fn wire<'a>(
    graph: &mut CompositionGraph,
    parts: &'a [Placed],
    nodes: &[NodeId],
    index: usize,
    import: &str,
) -> Result<(), ComposeError> {
    let part = &parts[index];
    let before = || parts[..index].iter().zip(nodes);
    let export = |(provider, node): (&'a Placed, &NodeId), name: &str| {
        let exports = provider.component.exports();
        let export = exports.iter().find(|export| are_semver_compatible(export, name))?;
        Some((provider, *node, export))
    };
    let is_router = |part: &Placed| part.role == Role::Router;
    let (interface, provider) = match (is_router(part), contract_name(import)) {
        (_, Some(wanted)) => {
            // Models behind a router are the router's alone.
            let routed = before().any(|(part, _)| is_router(part));
            let mut visible = before().filter(|(part, _)| !routed || part.role != Role::Model);
            (wanted.interface, visible.find_map(|earlier| export(earlier, import)))
        }
        (true, None) => {
            let model = interface_name("model");
            let mut models = before().filter(|(part, _)| part.role == Role::Model).enumerate();
            let named = models.find(|(number, _)| import_name(*number) == import);
            ("model", named.and_then(|(_, earlier)| export(earlier, &model)))
        }
        (false, None) => return Ok(()),
    };
    if let Some((provider, node, export)) = provider {
        let argument = graph.alias_instance_export(node, export).map_err(other)?;
        return graph.set_instantiation_argument(nodes[index], import, argument).map_err(|error| {
            let InstantiationArgumentError::ArgumentTypeMismatch { source, .. } = error else {
                return other(error);
            };
            ComposeError::Mismatch {
                role: part.role,
                name: part.name(),
                import: import.into(),
                provider_role: provider.role,
                provider: provider.name(),
                detail: format!("{source:#}"),
            }
        });
    }
    let missing = |found| ComposeError::MissingImport {
        role: part.role,
        name: part.name(),
        import: import.into(),
        found,
    };
    let other_version =
        before().find_map(|(part, _)| Some((part, find(part.component.exports(), interface)?)));
    if let Some((provider, export)) = other_version {
        let version = contract_name(export).map_or("", |name| name.version);
        return Err(missing(format!(
            "the {} `{}` exports {version}: build one of them against the other's version",
            provider.role,
            provider.name(),
        )));
    }
    // The slot of a role that is left out is open, for the host to fill.
    let slot = Role::ALL.iter().find(|role| role.interface() == Some(interface));
    match slot {
        Some(role) if *role < part.role && parts.iter().all(|part| part.role != *role) => Ok(()),
        _ => Err(missing("no part exports it".into())),
    }
}

fn export(
    graph: &mut CompositionGraph,
    parts: &[Placed],
    nodes: &[NodeId],
    beside: Beside,
) -> Result<(), ComposeError> {
    let place = |role| parts.iter().position(|part| part.role == role);
    let app = place(Role::App);
    let beside = if app.is_some() { beside } else { Beside::TypesAndInference };
    let mut exports: Vec<(NodeId, String)> = Vec::new();
    let mut add = |index: Option<usize>, interfaces: Option<&[&str]>| {
        let Some(index) = index else { return };
        for name in parts[index].component.exports() {
            let wanted = interfaces.is_none_or(|interfaces| {
                contract_name(name).is_some_and(|name| interfaces.contains(&name.interface))
            });
            if wanted && exports.iter().all(|(_, other)| other != name) {
                exports.push((nodes[index], name.clone()));
            }
        }
    };
    let mut extra = Vec::new();
    if matches!(beside, Beside::TypesAndInference) {
        extra.push("inference");
    }
    // A host that provides the collective runs the other instances, whatever rank 0 is for.
    if app.is_none() || place(Role::Collective).is_none() {
        extra.push("worker");
    }
    // What the app exports itself under such a name is the app's.
    let own: Vec<String> =
        app.map(|app| parts[app].component.exports().to_vec()).unwrap_or_default();
    extra.retain(|interface| find(&own, interface).is_none());
    // Types come first: exports that use them refer back to their names.
    if !matches!(beside, Beside::Nothing) && !own.contains(&interface_name("types")) {
        add(place(Role::Types), Some(&["types"]));
    }
    add(place(Role::Engine), Some(&extra));
    if place(Role::Engine).is_none() {
        add(place(Role::Router), Some(&["model"]));
    }
    add(app, None);
    for (node, name) in exports {
        let alias = graph.alias_instance_export(node, &name).map_err(other)?;
        graph.export(alias, &name).map_err(other)?;
    }
    Ok(())
}

fn other(error: impl std::error::Error) -> ComposeError {
    ComposeError::Graph(error.to_string())
}
