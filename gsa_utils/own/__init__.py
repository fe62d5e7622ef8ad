"""From a folder of images to a verdict: what is in it, are the images aligned, and does one shared map help there?"""
