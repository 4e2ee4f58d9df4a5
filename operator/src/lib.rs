//! Reconciles LogStack and LogScrape. Not built yet: `crds` defines both and renders what they mean, and `logstack run`
//! reads them without a cluster.
