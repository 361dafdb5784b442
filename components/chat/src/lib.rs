//! chat component.
