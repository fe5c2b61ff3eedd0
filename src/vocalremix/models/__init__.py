"""Separation models; the rest of the library knows them by what `base.SeparationModel` promises."""
