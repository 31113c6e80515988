"""What the error codes of S3 services mean."""

from __future__ import annotations

from typing import Any

from destinations.storage.errors import (
    AccessDenied,
    BadConfig,
    BucketMissing,
    ClockSkew,
    KeyRefused,
    ObjectMissing,
    ObjectProtected,
    QuotaExceeded,
    RegionWrong,
    ServerBusy,
    ShortRead,
    StoreError,
    StoreFull,
    StoreUnreachable,
    TransferDamaged,
)

_BY_CODE: dict[str, tuple[type[StoreError], str]] = {
    "NoSuchKey": (ObjectMissing, "is not there"),
    "NoSuchVersion": (ObjectMissing, "is not there"),
    "404": (ObjectMissing, "is not there"),
    "NotFound": (ObjectMissing, "is not there"),
    "NoSuchBucket": (BucketMissing, "there is no such bucket"),
    "InvalidBucketName": (BadConfig, "the bucket's name is not a legal one"),
    "InvalidAccessKeyId": (KeyRefused, "the access key is unknown"),
    "SignatureDoesNotMatch": (KeyRefused, "the secret key does not fit the access key"),
    "InvalidToken": (KeyRefused, "the session token is not valid"),
    "ExpiredToken": (KeyRefused, "the session token has expired"),
    "AccessDenied": (AccessDenied, "the service denies access"),
    "AllAccessDisabled": (AccessDenied, "the service denies access"),
    "AccountProblem": (AccessDenied, "the provider has a problem with the account"),
    "403": (AccessDenied, "the service denies access"),
    "Forbidden": (AccessDenied, "the service denies access"),
    "MethodNotAllowed": (AccessDenied, "the service does not allow this"),
    "ObjectLocked": (ObjectProtected, "is under retention"),
    "InvalidRetentionPeriod": (ObjectProtected, "the retention time is refused"),
    "InvalidObjectState": (AccessDenied, "is in an archive class and cannot be read at once"),
    "RequestTimeTooSkewed": (ClockSkew, "the clocks of the service and of this machine differ too much"),
    "AuthorizationHeaderMalformed": (RegionWrong, "the region is not the bucket's"),
    "PermanentRedirect": (RegionWrong, "the bucket is in another region or at another endpoint"),
    "TemporaryRedirect": (RegionWrong, "the bucket is in another region or at another endpoint"),
    "IllegalLocationConstraintException": (RegionWrong, "the region is not that of the endpoint"),
    "InvalidLocationConstraint": (RegionWrong, "the service does not know the region"),
    "301": (RegionWrong, "the bucket is in another region or at another endpoint"),
    "307": (RegionWrong, "the bucket is in another region or at another endpoint"),
    "QuotaExceeded": (QuotaExceeded, "the quota is used up"),
    "XMinioStorageFull": (StoreFull, "the service has no space left"),
    "InsufficientStorage": (StoreFull, "the service has no space left"),
    "507": (StoreFull, "the service has no space left"),
    "InvalidRange": (ShortRead, "is shorter than the range"),
    "416": (ShortRead, "is shorter than the range"),
    "BadDigest": (TransferDamaged, "what arrived is not what was sent"),
    "XAmzContentSHA256Mismatch": (TransferDamaged, "what arrived is not what was sent"),
    "IncompleteBody": (TransferDamaged, "not all bytes arrived"),
    "InvalidStorageClass": (BadConfig, "the service does not know the storage class"),
    "NotImplemented": (BadConfig, "the service does not know this feature"),
    "SlowDown": (ServerBusy, "the service asks for fewer requests"),
    "SlowDownWrite": (ServerBusy, "the service asks for fewer requests"),
    "TooManyRequests": (ServerBusy, "the service asks for fewer requests"),
    "503": (ServerBusy, "the service is not available just now"),
    "ServiceUnavailable": (ServerBusy, "the service is not available just now"),
    "RequestTimeout": (StoreUnreachable, "the service waited too long for our bytes"),
    "InternalError": (StoreUnreachable, "the service has an inner error"),
    "500": (StoreUnreachable, "the service has an inner error"),
    "502": (StoreUnreachable, "the service is not available just now"),
    "504": (StoreUnreachable, "the service is not available just now"),
}


def meaning(response: dict[str, Any], key: str) -> StoreError:
    """Return the error of ours for an error answer of the service."""
    error = response.get("Error", {})
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    status = str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    code = str(error.get("Code", "")) or status
    said = _printable(error.get("Message", ""))
    kind, text = _BY_CODE.get(code) or _BY_CODE.get(status, (StoreError, f"the service answered {code}: {said}"))
    if kind is AccessDenied and any(word in said.lower() for word in ("object lock", "retention", "worm")):
        kind, text = ObjectProtected, "is under retention"
    if kind is RegionWrong and (region := headers.get("x-amz-bucket-region") or error.get("Region")):
        text = f"{text}: it is {_printable(region)}"
    return kind(f"{key}: {text}" if key else text, key=key)


def _printable(text: object) -> str:
    return "".join(letter for letter in str(text) if letter.isprintable())[:200]
