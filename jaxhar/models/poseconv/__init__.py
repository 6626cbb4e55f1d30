"""PoseConv3D: action recognition from heat-map volumes of skeletons."""
