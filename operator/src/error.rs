//! What can go wrong when we write, by who can fix it.

use kube::core::Status;

use crate::object::ObjectId;

/// Why the API server said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// RBAC.
    Forbidden,
    /// A policy or webhook.
    AdmissionDenied,
    /// The object is not valid.
    Invalid,
    /// A quota.
    QuotaExceeded,
    /// Someone else has an object of that name.
    NameConflict,
    /// The namespace is going away; nobody has to do anything.
    Terminating,
    /// There is no such namespace.
    NamespaceMissing,
    /// There is no such kind: its CRD is not installed.
    KindMissing,
    /// No answer.
    ApiUnavailable,
    /// No answer in time.
    Timeout,
    /// Somebody wrote at the same time.
    Conflict,
}

impl Refusal {
    /// The word in `ReconcileOK`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Forbidden => "Forbidden",
            Self::AdmissionDenied | Self::Invalid | Self::NamespaceMissing | Self::KindMissing => "AdmissionDenied",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::NameConflict => "NameConflict",
            Self::Terminating | Self::ApiUnavailable | Self::Conflict => "ApiUnavailable",
            Self::Timeout => "Timeout",
        }
    }

    /// Time may mend it; the rest waits for a change, but is looked at now and then.
    pub fn is_retryable(self) -> bool {
        !matches!(self, Self::NameConflict | Self::Terminating)
    }
}

/// A write that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{id}: {message}")]
pub struct ApplyError {
    /// Which object.
    pub id: ObjectId,
    /// Why.
    pub refusal: Refusal,
    /// In the API server's words, or ours.
    pub message: String,
}

impl ApplyError {
    /// Of an error of the client.
    pub fn new(id: &ObjectId, error: &kube::Error) -> Self {
        let (refusal, message) = classify(error);
        Self { id: id.clone(), refusal, message }
    }
}

/// Why, and in whose words.
pub fn classify(error: &kube::Error) -> (Refusal, String) {
    match error {
        kube::Error::Api(status) => (of_status(status), status.message.clone()),
        kube::Error::Service(source) if source.to_string().contains("timed out") => {
            (Refusal::Timeout, "the API server did not answer in time".to_owned())
        }
        // The chain of a lost connection is long and never the same: it would churn in a status.
        _ => (Refusal::ApiUnavailable, "the API server cannot be reached".to_owned()),
    }
}

fn of_status(status: &Status) -> Refusal {
    let message = status.message.as_str();
    match status.code {
        403 if message.contains("is being terminated") => Refusal::Terminating,
        403 if message.contains("exceeded quota") => Refusal::QuotaExceeded,
        403 if message.contains("denied the request") || message.contains("violates PodSecurity") => {
            Refusal::AdmissionDenied
        }
        // RBAC says who may not do what; admission plugins say something else.
        403 if message.contains(" cannot ") => Refusal::Forbidden,
        403 => Refusal::AdmissionDenied,
        400 | 422 if message.contains("denied") => Refusal::AdmissionDenied,
        400 | 422 => Refusal::Invalid,
        404 if message.contains("namespaces") => Refusal::NamespaceMissing,
        404 if message.contains("could not find the requested resource") || message.contains("page not found") => {
            Refusal::KindMissing
        }
        404 => Refusal::NamespaceMissing,
        409 => Refusal::Conflict,
        504 => Refusal::Timeout,
        _ => Refusal::ApiUnavailable,
    }
}

/// True when the claim's class cannot grow. Admission says so with 403, which is no missing permission.
pub fn is_expansion_refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403 && status.message.contains("can be resized"))
}

/// True for an object that is not there.
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_who_can_fix_it() {
        #[track_caller]
        fn check(code: u16, message: &str, want: Refusal) {
            let error = kube::Error::Api(Status::failure(message, "").with_code(code).boxed());
            assert_eq!(classify(&error).0, want, "{message}");
        }
        check(403, "services \"a\" is forbidden: User \"x\" cannot patch resource", Refusal::Forbidden);
        check(
            403,
            "configmaps \"a\" is forbidden: unable to create new content in namespace x because it is being terminated",
            Refusal::Terminating,
        );
        check(403, "services \"a\" is forbidden: exceeded quota: q, requested: services=1", Refusal::QuotaExceeded);
        check(403, "ValidatingAdmissionPolicy 'x' denied request: no", Refusal::AdmissionDenied);
        check(400, "admission webhook \"x\" denied the request: no", Refusal::AdmissionDenied);
        check(422, "StatefulSet.apps \"a\" is invalid: spec.template", Refusal::Invalid);
        check(404, "namespaces \"grafana\" not found", Refusal::NamespaceMissing);
        check(409, "the object has been modified", Refusal::Conflict);
        check(500, "etcdserver: leader changed", Refusal::ApiUnavailable);
    }
}
