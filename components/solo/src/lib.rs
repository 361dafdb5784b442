//! solo component.
