//! kubectl-terrace
