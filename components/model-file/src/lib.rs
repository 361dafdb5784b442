//! model-file component.
