"""Neutron's replicas in sites, one module per kind; ``cascade.reconcile.network`` puts them together."""
