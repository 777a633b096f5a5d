"""Where collectstatic puts static files, and the addresses that pages give them."""

from __future__ import annotations

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedFiles(CompressedManifestStaticFilesStorage):
    """Names with a hash of the content, kept by browsers for ever, beside .gz and .br files.

    Without a collectstatic (``DM_STATIC_ROOT`` is set, and empty) pages name the files of the
    source tree, which the web process serves too.
    """

    def stored_name(self, name: str) -> str:
        """Return the name with its hash, or the plain one when nothing was collected."""
        return str(super().stored_name(name)) if self.hashed_files else name
