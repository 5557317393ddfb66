"""RecBole's own models on impressions: inputs, settings and patches."""
