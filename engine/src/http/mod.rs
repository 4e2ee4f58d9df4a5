//! The HTTP interface: Loki's routes, and nothing that is not HTTP. Only this folder imports axum.
//!
//! | file | what |
//! |---|---|
//! | [`tenancy`] | `X-Scope-OrgID` to tenants |

pub mod json;
pub mod params;
pub mod tenancy;
