//! Kubernetes objects to datapath tables.
