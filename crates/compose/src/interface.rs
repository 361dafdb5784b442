//! Names of imports and exports, and what a component is by them.

use serde::{Deserialize, Serialize};
use std::fmt;

use wasmparser::{Parser, Payload};

use crate::contract::PACKAGE;
use crate::sections::WasmError;

/// The place of a part in a composition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The component that holds the contract's types, generated.
    Types,
    /// Exchanges data between instances.
    Collective,
    /// Holds or computes settings.
    Configuration,
    /// Holds or fetches weights. A composition may have several, behind a router.
    Model,
    /// Joins the models into one, generated.
    Router,
    /// Computes.
    Engine,
    /// The user's.
    App,
}

impl Role {
    /// In the order of dependence: a part imports only from those before it.
    pub const ALL: [Role; 7] = [
        Role::Types,
        Role::Collective,
        Role::Configuration,
        Role::Model,
        Role::Router,
        Role::Engine,
        Role::App,
    ];

    /// As in the record and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Role::Types => "types",
            Role::Collective => "collective",
            Role::Configuration => "configuration",
            Role::Model => "model",
            Role::Router => "router",
            Role::Engine => "engine",
            Role::App => "app",
        }
    }

    /// The interface that a part of this role exports for the others.
    pub(crate) fn interface(self) -> Option<&'static str> {
        match self {
            Role::Types => Some("types"),
            Role::Collective => Some("collective"),
            Role::Configuration => Some("configuration"),
            Role::Model | Role::Router => Some("model"),
            Role::Engine => Some("inference"),
            Role::App => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// A model file that is not packed.
    Gguf,
    /// WebAssembly without a component around it.
    CoreModule,
    /// Exports `model`.
    Model,
    /// Exports `configuration`.
    Configuration,
    /// Exports `collective`.
    Collective,
    /// Exports `inference`.
    Engine,
    /// Imports `inference`.
    App,
    /// Exports `types` and nothing else of the contract.
    Types,
    /// Holds a record of its parts.
    Composition,
    /// A component that has nothing to do with the contract.
    Other,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Gguf => "a GGUF file",
            Kind::CoreModule => "a core module",
            Kind::Model => "a model component",
            Kind::Configuration => "a configuration component",
            Kind::Collective => "a collective component",
            Kind::Engine => "an engine",
            Kind::App => "an app",
            Kind::Types => "a types component",
            Kind::Composition => "a composition",
            Kind::Other => "another component",
        })
    }
}

/// `trefoil:llm/inference@0.1.0`, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name<'a> {
    pub(crate) interface: &'a str,
    pub(crate) version: &'a str,
}

/// Takes a name apart if it belongs to the contract.
pub(crate) fn contract_name(name: &str) -> Option<Name<'_>> {
    let rest = name.strip_prefix(PACKAGE)?.strip_prefix('/')?;
    let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
    Some(Name { interface, version })
}

/// Names of what a component imports and exports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Externs {
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
}

impl Externs {
    /// Reads the names from a component (a skeleton will do). Does not validate.
    pub(crate) fn read(component: &[u8]) -> Result<Externs, WasmError> {
        let mut externs = Externs::default();
        let mut depth = 0u32;
        let invalid = |error: wasmparser::BinaryReaderError| {
            // The offset is one of the skeleton, not of the file.
            WasmError::Invalid(error.message().into())
        };
        for payload in Parser::new(0).parse_all(component) {
            match payload.map_err(invalid)? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        externs.imports.push(import.map_err(invalid)?.name.name.into());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        externs.exports.push(export.map_err(invalid)?.name.name.into());
                    }
                }
                _ => {}
            }
        }
        Ok(externs)
    }

    pub(crate) fn imports_interface(&self, interface: &str) -> bool {
        find(&self.imports, interface).is_some()
    }

    pub(crate) fn exports_interface(&self, interface: &str) -> bool {
        find(&self.exports, interface).is_some()
    }

    /// What the component is; a composition is told by its record, not here.
    pub(crate) fn kind(&self) -> Kind {
        if self.imports_interface("inference") {
            return Kind::App;
        }
        let kinds = [
            ("inference", Kind::Engine),
            ("model", Kind::Model),
            ("configuration", Kind::Configuration),
            ("collective", Kind::Collective),
            ("types", Kind::Types),
        ];
        let found = kinds.iter().find(|(interface, _)| self.exports_interface(interface));
        found.map_or(Kind::Other, |(_, kind)| *kind)
    }
}

/// The first name of the contract's interface.
pub(crate) fn find<'a>(names: &'a [String], interface: &str) -> Option<&'a String> {
    names.iter().find(|name| contract_name(name).is_some_and(|name| name.interface == interface))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(imports: &[&str], exports: &[&str]) -> Kind {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
        Externs { imports: owned(imports), exports: owned(exports) }.kind()
    }

    #[test]
    fn components_are_told_by_their_interfaces() {
        let inference = "trefoil:llm/inference@0.1.0";
        let model = "trefoil:llm/model@0.1.0";
        assert_eq!(kind(&[inference], &["wasi:cli/run@0.2.6"]), Kind::App);
        assert_eq!(kind(&[inference], &[inference]), Kind::App);
        assert_eq!(kind(&[model], &[inference]), Kind::Engine);
        assert_eq!(kind(&[model], &[model]), Kind::Model);
        assert_eq!(
            kind(&["wasi:cli/run@0.2.6"], &["trefoil:llm/configuration"]),
            Kind::Configuration
        );
        assert_eq!(kind(&[], &["trefoil:llm/collective@0.1.0"]), Kind::Collective);
        assert_eq!(kind(&[], &["trefoil:llm/types@0.1.0"]), Kind::Types);
        assert_eq!(kind(&[], &["trefoil:llm-extra/model@0.1.0"]), Kind::Other);
        assert_eq!(kind(&[], &[]), Kind::Other);
    }
}
