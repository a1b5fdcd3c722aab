"""Audit bundles: everything that decisions rest on in one file, and a check that recomputes all of it offline.

`pack` writes a bundle from stored analyses, `verify` says what in it differs from what follows from it. See docs/audit.md for
what a bundle proves, and what it cannot.
"""

from __future__ import annotations

from safetyanalyst.pipelines.audit_facts import AuditReport, Difference, NotPacked, PackReport, PolicySource, Rules
from safetyanalyst.pipelines.audit_pack import PackOptions, pack
from safetyanalyst.pipelines.audit_verify import verify

__all__ = ["AuditReport", "Difference", "NotPacked", "PackOptions", "PackReport", "PolicySource", "Rules", "pack", "verify"]
